# One Azure OpenAI instance: private, without keys, inside the boundary.

resource "azurerm_cognitive_account" "this" {
  name                               = var.name
  resource_group_name                = var.resource_group_name
  location                           = var.location
  kind                               = "OpenAI"
  sku_name                           = "S0"
  custom_subdomain_name              = var.name # Entra tokens and private endpoints need one
  local_auth_enabled                 = false
  public_network_access_enabled      = false
  outbound_network_access_restricted = true
  network_acls {
    default_action = "Deny"
    bypass         = "None"
  }
  identity {
    type = "SystemAssigned"
  }
  tags = var.tags

  lifecycle {
    precondition {
      condition     = contains(var.boundary.locations, var.location)
      error_message = "location is outside the boundary."
    }
  }
}

resource "azurerm_cognitive_deployment" "this" {
  for_each               = var.deployments
  name                   = each.key
  cognitive_account_id   = azurerm_cognitive_account.this.id
  version_upgrade_option = "NoAutoUpgrade" # a route is one model at one version
  rai_policy_name        = each.value.rai_policy_name
  model {
    format  = "OpenAI"
    name    = each.value.model
    version = each.value.version
  }
  sku {
    name     = each.value.sku
    capacity = each.value.capacity
  }
}

# Least privilege: call deployments, see no keys, change nothing.
resource "azurerm_role_assignment" "gateway" {
  for_each             = var.gateway_principal_ids
  scope                = azurerm_cognitive_account.this.id
  role_definition_name = "Cognitive Services OpenAI User"
  principal_id         = each.value
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "emergency" {
  count                = var.emergency == null ? 0 : 1
  scope                = azurerm_cognitive_account.this.id
  role_definition_name = "Cognitive Services OpenAI User"
  principal_id         = var.emergency.principal_id
  principal_type       = "ServicePrincipal"
  description          = "Emergency exit until ${var.emergency.until}"
}

# Who called, when, with which result. Not the prompts: Azure logs no text here.
resource "azurerm_monitor_diagnostic_setting" "this" {
  name                       = "audit"
  target_resource_id         = azurerm_cognitive_account.this.id
  log_analytics_workspace_id = var.log_analytics_workspace_id
  enabled_log {
    category = "Audit"
  }
  enabled_log {
    category = "RequestResponse"
  }
  enabled_metric {
    category = "AllMetrics"
  }
}
