mock_provider "azurerm" {
  mock_resource "azurerm_dashboard_grafana" {
    defaults = { identity = { principal_id = "66666666-6666-6666-6666-666666666666" } }
  }
}

run "strict_refuses_front_door" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], strict = true } }
  expect_failures = [azurerm_cdn_frontdoor_profile.this]
}

run "a_home_outside_refused" {
  command = plan
  variables { home = "eastus" }
  # What stands there complains as well, inside the module; the group is first.
  expect_failures = [azurerm_resource_group.this]
}

run "unknown_edge_refused" {
  command = plan
  variables { edge = "cdn" }
  expect_failures = [var.edge]
}

run "an_unknown_reach_refused" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], regional_processing = "country" } }
  expect_failures = [var.boundary]
}
