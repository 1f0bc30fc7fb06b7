output "regions" {
  description = "This region's entry of what later layers need of all regions."
  value = { (var.location) = {
    resource_group_name  = azurerm_resource_group.this.name
    virtual_network_id   = module.network.virtual_network_id
    virtual_network_name = module.network.virtual_network_name
    subnet_ids           = module.network.subnet_ids
    cidrs                = module.network.cidrs
    private_dns_zone_ids = module.network.private_dns_zone_ids
    identity = {
      id           = azurerm_user_assigned_identity.this.id
      client_id    = azurerm_user_assigned_identity.this.client_id
      principal_id = azurerm_user_assigned_identity.this.principal_id
    }
    key_vault_uri = module.vault.uri
  } }
}
