# One region: its own resource group, network, identity and vault. Applied once
# for each region, each with a state of its own.

locals {
  region = var.layout[var.location]
  tags   = { workload = "stampgate", boundary = var.boundary.name, region = var.location }
}

resource "azurerm_resource_group" "this" {
  name     = "rg-${var.name}-${var.location}"
  location = var.location
  tags     = local.tags
}

module "network" {
  source                  = "../../../modules/network"
  name                    = "${var.name}-${local.region.short}"
  resource_group_name     = azurerm_resource_group.this.name
  location                = var.location
  address_space           = local.region.address_space
  boundary_address_spaces = { for region, r in var.layout : region => r.address_space }
  boundary                = var.boundary
  edge                    = var.edge
  client_cidrs            = var.client_cidrs
  operator_cidrs          = var.operator_cidrs
  emergency_clients       = var.emergency_clients
  tags                    = local.tags
}

# The stamp's identity: every machine of it, and no other, has it.
resource "azurerm_user_assigned_identity" "this" {
  name                = "id-${var.name}-${local.region.short}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  isolation_scope     = "Regional"
  tags                = local.tags
}

resource "azurerm_role_assignment" "metrics" {
  scope                = var.metrics_rule_id
  role_definition_name = "Monitoring Metrics Publisher"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
  principal_type       = "ServicePrincipal"
}

module "vault" {
  source              = "../../../modules/vault"
  name                = "kv-${var.name}-${local.region.short}"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  tenant_id           = var.tenant_id
  subnet_id           = module.network.subnet_ids["platform"]
  private_dns_zone_id = module.network.private_dns_zone_ids["privatelink.vaultcore.azure.net"]
  reader_principal_id = azurerm_user_assigned_identity.this.principal_id
  tags                = local.tags
}
