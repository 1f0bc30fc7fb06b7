mock_provider "azurerm" {}

variables {
  name                = "kv-sgeu-swc"
  resource_group_name = "rg"
  location            = "swedencentral"
  tenant_id           = "aaaaaaaa-0000-0000-0000-000000000000"
  subnet_id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-platform"
  private_dns_zone_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/privatelink.example.net"
  reader_principal_id = "22222222-2222-2222-2222-222222222222"
}

run "closed" {
  command = plan
  assert {
    condition     = !azurerm_key_vault.this.public_network_access_enabled && azurerm_key_vault.this.rbac_authorization_enabled && azurerm_role_assignment.reader.role_definition_name == "Key Vault Secrets User"
    error_message = "private, by roles, read only"
  }
}

run "long_name_refused" {
  command = plan
  variables { name = "kv-stampgate-europe-swedencentral" }
  expect_failures = [var.name]
}
