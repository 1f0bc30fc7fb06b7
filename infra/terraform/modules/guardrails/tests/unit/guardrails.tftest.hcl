mock_provider "azurerm" {}

variables {
  name                  = "sgeu"
  scope_subscription_id = "00000000-0000-0000-0000-000000000001"
  boundary              = { name = "eu", locations = ["swedencentral", "francecentral"] }
}

run "regional_only" {
  command = plan
  assert {
    condition     = toset(output.allowed_skus) == toset(["Standard", "ProvisionedManaged"])
    error_message = "what is processed in the region"
  }
  assert {
    condition     = length(azurerm_policy_definition.this) == 5 && azurerm_subscription_policy_assignment.this.enforce
    error_message = "every definition is in force"
  }
  assert {
    condition     = join(" ", [for r in azurerm_policy_set_definition.this.policy_definition_reference : r.parameter_values if r.reference_id == "deny-location"]) == "{\"allowedLocations\":{\"value\":[\"francecentral\",\"swedencentral\"]}}"
    error_message = "the boundary's regions and no others"
  }
}

run "data_zone" {
  command = plan
  variables { boundary = { name = "eu", locations = ["swedencentral"], allow_data_zone = true } }
  assert {
    condition     = contains(output.allowed_skus, "DataZoneStandard") && !contains(output.allowed_skus, "GlobalStandard")
    error_message = "a data zone is not the world"
  }
}

run "no_locations_refused" {
  command = plan
  variables { boundary = { name = "eu", locations = [] } }
  expect_failures = [var.boundary]
}

run "long_name_refused" {
  command = plan
  variables { name = "stampgate-europe-production" }
  expect_failures = [var.name]
}
