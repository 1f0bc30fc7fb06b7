mock_provider "azurerm" {}

run "example" {
  command = plan
  assert {
    condition     = length(module.front_door) == 1 && length(module.traffic_manager) == 0
    error_message = "Front Door is chosen"
  }
}

run "strict" {
  command = plan
  variables {
    boundary           = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], strict = true }
    edge               = "traffic-manager"
    front_door_profile = null
    stamps = {
      swedencentral = { public_host_name = "sgeu-swc.swedencentral.cloudapp.azure.com" }
      francecentral = { public_host_name = "sgeu-frc.francecentral.cloudapp.azure.com" }
    }
  }
  assert {
    condition     = length(module.front_door) == 0 && length(module.traffic_manager) == 1
    error_message = "strict residency chooses Traffic Manager"
  }
}
