# What the boundary keeps: policies in etcd, usage in PostgreSQL. Calls wait for
# neither. Beside the stamps and not in them, so that a stamp can be replaced as a
# whole, and losing one costs no vote unless a member stood in that region.

locals {
  tags = { workload = "stampgate", boundary = var.boundary.name }
  pairs = { for p in setproduct(keys(var.layout), keys(var.layout)) :
  "${var.layout[p[0]].short}-to-${var.layout[p[1]].short}" => { from = p[0], to = p[1] } if p[0] != p[1] }
}

resource "azurerm_resource_group" "this" {
  name     = "rg-${var.name}-stores"
  location = var.home
  tags     = local.tags

  lifecycle {
    precondition {
      condition     = contains(var.boundary.locations, var.home)
      error_message = "home is outside the boundary."
    }
  }
}

# Gateways follow the etcd of their boundary, wherever in it its members stand.
# The rules of the networks say what passes between them: 2379, 2380, 5432.
resource "azurerm_virtual_network_peering" "mesh" {
  for_each                     = local.pairs
  name                         = each.key
  resource_group_name          = var.regions[each.value.from].resource_group_name
  virtual_network_name         = var.regions[each.value.from].virtual_network_name
  remote_virtual_network_id    = var.regions[each.value.to].virtual_network_id
  allow_virtual_network_access = true
  allow_forwarded_traffic      = false
}

resource "azurerm_user_assigned_identity" "this" {
  name                = "id-${var.name}-stores"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.home
  tags                = local.tags
}

module "vault" {
  source              = "../../../modules/vault"
  name                = "kv-${var.name}-stores"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.home
  tenant_id           = var.tenant_id
  subnet_id           = var.regions[var.home].subnet_ids["platform"]
  private_dns_zone_id = var.regions[var.home].private_dns_zone_ids["privatelink.vaultcore.azure.net"]
  reader_principal_id = azurerm_user_assigned_identity.this.principal_id
  tags                = local.tags
}

module "policy_store" {
  source   = "../../../modules/policy-store"
  name     = "${var.name}-etcd"
  boundary = var.boundary
  members = { for name, m in var.etcd_members : name => {
    resource_group_name = azurerm_resource_group.this.name
    location            = m.location
    zone                = m.zone
    subnet_id           = var.regions[m.location].subnet_ids["policy"]
    private_ip_address  = cidrhost(var.regions[m.location].cidrs["policy"], m.host)
  } }
  image_id = var.store_image_id
  identity = {
    id           = azurerm_user_assigned_identity.this.id
    client_id    = azurerm_user_assigned_identity.this.client_id
    principal_id = azurerm_user_assigned_identity.this.principal_id
  }
  key_vault_uri       = module.vault.uri
  trusted_policy_keys = var.trusted_policy_keys
  snapshots = {
    account_name        = "st${var.name}snap"
    resource_group_name = azurerm_resource_group.this.name
    location            = var.home
    subnet_id           = var.regions[var.home].subnet_ids["platform"]
    private_dns_zone_id = var.regions[var.home].private_dns_zone_ids["privatelink.blob.core.windows.net"]
  }
  admin_ssh_public_key = var.admin_ssh_public_key
  tags                 = local.tags
}

# Grafana is older than any network, so its way in is here.
resource "azurerm_private_endpoint" "grafana" {
  name                          = "pe-${var.name}-grafana"
  resource_group_name           = azurerm_resource_group.this.name
  location                      = var.home
  subnet_id                     = var.regions[var.home].subnet_ids["platform"]
  custom_network_interface_name = "nic-pe-${var.name}-grafana"
  private_service_connection {
    name                           = "grafana"
    private_connection_resource_id = var.grafana_id
    subresource_names              = ["grafana"]
    is_manual_connection           = false
  }
  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [var.regions[var.home].private_dns_zone_ids["privatelink.grafana.azure.com"]]
  }
  tags = local.tags
}

module "ledger" {
  source              = "../../../modules/ledger-db"
  name                = "${var.name}-ledger"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.home
  boundary            = var.boundary
  tenant_id           = var.tenant_id
  delegated_subnet_id = var.regions[var.home].subnet_ids["database"]
  virtual_network_ids = { for region, r in var.regions : region => r.virtual_network_id }
  administrators      = var.ledger_administrators
  tags                = local.tags
}
