mock_provider "azurerm" {}

run "example" {
  command = plan
  assert {
    condition     = azurerm_resource_group.this.name == "rg-sgeu-${var.location}" && azurerm_resource_group.this.location == var.location
    error_message = "a region has its own group"
  }
  assert {
    condition     = azurerm_role_assignment.metrics.role_definition_name == "Monitoring Metrics Publisher"
    error_message = "the identity may write metrics, and not read them"
  }
}

run "strict" {
  command = plan
  variables {
    boundary     = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], strict = true }
    edge         = "traffic-manager"
    client_cidrs = ["Internet"]
  }
}
