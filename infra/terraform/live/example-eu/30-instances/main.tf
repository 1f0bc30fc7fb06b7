# The Azure OpenAI instances, in a subscription apart, a resource group for each
# region; and the policy that names them.

locals {
  tags      = { workload = "stampgate", boundary = var.boundary.name }
  locations = toset([for i in values(var.instances) : i.location])
}

resource "azurerm_resource_group" "this" {
  for_each = local.locations
  name     = "rg-${var.name}-instances-${each.key}"
  location = each.key
  tags     = merge(local.tags, { region = each.key })
}

module "instance" {
  source                     = "../../../modules/openai-instance"
  for_each                   = var.instances
  name                       = each.key
  resource_group_name        = azurerm_resource_group.this[each.value.location].name
  location                   = each.value.location
  boundary                   = var.boundary
  deployments                = each.value.deployments
  gateway_principal_ids      = { for region, r in var.regions : region => r.identity.principal_id }
  endpoint_cidrs             = sort([for r in values(var.regions) : r.cidrs["endpoint"]])
  emergency                  = lookup(var.emergency, each.key, null)
  log_analytics_workspace_id = var.log_analytics_workspace_id
  tags                       = local.tags
}

module "guardrails" {
  source                = "../../../modules/guardrails"
  name                  = "${var.name}-i"
  scope_subscription_id = var.instances_subscription_id
  boundary              = var.boundary
  enforce               = var.enforce_guardrails
}
