# What the whole boundary shares and no call depends on: where it is watched
# from, Azure Policy, and the Front Door profile, whose id the stamps check.

locals {
  tags = { workload = "stampgate", boundary = var.boundary.name }
}

resource "azurerm_resource_group" "this" {
  name     = "rg-${var.name}-boundary"
  location = var.home
  tags     = local.tags

  lifecycle {
    precondition {
      condition     = contains(var.boundary.locations, var.home)
      error_message = "home is outside the boundary."
    }
  }
}

module "observability" {
  source                  = "../../../modules/observability"
  name                    = var.name
  resource_group_name     = azurerm_resource_group.this.name
  location                = var.home
  boundary                = var.boundary
  alert_email             = var.alert_email
  rules_file              = "${path.module}/../../../../prometheus/rules.yml"
  dashboards_folder       = "${path.module}/../../../../grafana"
  grafana_viewer_group_id = var.grafana_viewer_group_id
  tags                    = local.tags
}

module "guardrails" {
  source                = "../../../modules/guardrails"
  name                  = var.name
  scope_subscription_id = var.subscription_id
  boundary              = var.boundary
  enforce               = var.enforce_guardrails
}

resource "azurerm_cdn_frontdoor_profile" "this" {
  count                    = var.edge == "front-door" ? 1 : 0
  name                     = "afd-${var.name}"
  resource_group_name      = azurerm_resource_group.this.name
  sku_name                 = "Premium_AzureFrontDoor"
  response_timeout_seconds = 240 # the longest that Front Door allows to the first byte
  log_scrubbing_rule {
    match_variable = "QueryStringArgNames" # an api-key may be in the query
  }
  log_scrubbing_rule {
    match_variable = "RequestIPAddress"
  }
  tags = local.tags

  lifecycle {
    precondition {
      condition     = !var.boundary.strict
      error_message = "Strict residency chooses Traffic Manager: Front Door ends TLS at the edge location nearest to the client, anywhere on earth."
    }
  }
}
