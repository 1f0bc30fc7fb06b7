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

run "a_region_outside_refused" {
  command = plan
  variables { layout = { eastus = { short = "use", address_space = "10.30.0.0/24" } } }
  expect_failures = [var.layout]
}

run "a_fallback_beyond_the_layout_refused" {
  command = plan
  variables { layout = { swedencentral = { short = "swc", address_space = "10.10.0.0/24", fallback = ["norwayeast"] }, francecentral = { short = "frc", address_space = "10.20.0.0/24" } } }
  expect_failures = [var.layout]
}

run "unknown_edge_refused" {
  command = plan
  variables { edge = "cdn" }
  expect_failures = [var.edge]
}
