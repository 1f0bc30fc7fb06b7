mock_provider "azurerm" {}

variables {
  name                = "sgeu"
  resource_group_name = "rg"
  boundary            = { locations = ["swedencentral", "francecentral"] }
  host_name           = "openai.example.com"
  stamps = {
    swc = { target = "sgeu-swc.swedencentral.cloudapp.azure.com", location = "swedencentral" }
    frc = { target = "sgeu-frc.francecentral.cloudapp.azure.com", location = "francecentral" }
  }
}

run "asks_the_stamp" {
  command = plan
  assert {
    condition     = azurerm_traffic_manager_profile.this.monitor_config[0].path == "/health/stamp" && one(azurerm_traffic_manager_profile.this.monitor_config[0].expected_status_code_ranges) == "200-200"
    error_message = "the stamp's own verdict decides, and a redirect is none"
  }
  assert {
    condition     = length(azurerm_traffic_manager_external_endpoint.stamp) == 2
    error_message = "every stamp is an endpoint"
  }
}

run "slow" {
  command = plan
  variables { probe = { interval = 30, timeout = 10, tolerated = 3, ttl = 60 } }
}

run "timeout_as_long_as_the_interval_refused" {
  command = plan
  variables { probe = { interval = 10, timeout = 10 } }
  expect_failures = [var.probe]
}

run "interval_of_a_minute_refused" {
  command = plan
  variables { probe = { interval = 60 } }
  expect_failures = [var.probe]
}

run "ten_failures_refused" {
  command = plan
  variables { probe = { tolerated = 10 } }
  expect_failures = [var.probe]
}

run "a_stamp_outside_the_boundary_refused" {
  command = plan
  variables { stamps = { use = { target = "a.eastus.cloudapp.azure.com", location = "eastus" } } }
  expect_failures = [var.stamps]
}
