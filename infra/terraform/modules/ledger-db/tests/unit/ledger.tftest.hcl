mock_provider "azurerm" {}

variables {
  name                = "sgeu-ledger"
  resource_group_name = "rg"
  location            = "swedencentral"
  boundary            = { locations = ["swedencentral"] }
  tenant_id           = "aaaaaaaa-0000-0000-0000-000000000000"
  delegated_subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-database"
  virtual_network_ids = { swedencentral = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v" }
  administrators      = { stampgate-operators = { object_id = "55555555-5555-5555-5555-555555555555", principal_type = "Group" } }
}

run "private_without_passwords" {
  command = plan
  assert {
    condition     = !azurerm_postgresql_flexible_server.this.public_network_access_enabled && !azurerm_postgresql_flexible_server.this.authentication[0].password_auth_enabled && azurerm_postgresql_flexible_server.this.high_availability[0].mode == "ZoneRedundant"
    error_message = "private, Entra only, over two zones"
  }
  assert {
    condition     = azurerm_management_lock.this.lock_level == "CanNotDelete" && !azurerm_postgresql_flexible_server.this.geo_redundant_backup_enabled
    error_message = "kept, and kept inside"
  }
}

run "outside_the_boundary_refused" {
  command = plan
  variables { location = "eastus" }
  expect_failures = [azurerm_postgresql_flexible_server.this]
}

run "nobody_refused" {
  command = plan
  variables { administrators = {} }
  expect_failures = [var.administrators]
}

run "unknown_kind_of_principal_refused" {
  command = plan
  variables { administrators = { x = { object_id = "55555555-5555-5555-5555-555555555555", principal_type = "Robot" } } }
  expect_failures = [var.administrators]
}

run "burstable_refused" {
  command = plan
  variables { sku_name = "B_Standard_B1ms" }
  expect_failures = [var.sku_name]
}

run "one_zone_refused" {
  command = plan
  variables { zones = { primary = "2" } }
  expect_failures = [var.zones]
}

run "short_backups_refused" {
  command = plan
  variables { backup_retention_days = 3 }
  expect_failures = [var.backup_retention_days]
}
