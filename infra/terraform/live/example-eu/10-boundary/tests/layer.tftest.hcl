mock_provider "azurerm" {
  mock_resource "azurerm_dashboard_grafana" {
    defaults = { identity = { principal_id = "66666666-6666-6666-6666-666666666666" } }
  }
}

run "example" {
  command = plan
  assert {
    condition     = length(azurerm_cdn_frontdoor_profile.this) == 1 && azurerm_resource_group.this.location == "swedencentral"
    error_message = "one profile for one boundary, inside it"
  }
}

run "strict" {
  command = plan
  variables {
    boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], strict = true }
    edge     = "traffic-manager"
  }
  assert {
    condition     = length(azurerm_cdn_frontdoor_profile.this) == 0 && output.front_door_profile == null
    error_message = "strict residency has no Front Door"
  }
}
