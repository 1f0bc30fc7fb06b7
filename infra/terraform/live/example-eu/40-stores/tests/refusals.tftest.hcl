mock_provider "azurerm" {}

run "an_address_that_azure_keeps_refused" {
  command = plan
  variables {
    etcd_members = {
      e1 = { location = "swedencentral", zone = "1", host = 3 }
      e2 = { location = "swedencentral", zone = "2", host = 5 }
      e3 = { location = "swedencentral", zone = "3", host = 6 }
    }
  }
  expect_failures = [var.etcd_members]
}

run "a_home_outside_refused" {
  command = plan
  variables {
    boundary = { name = "eu", countries = ["FR"], locations = ["francecentral"] }
    layout   = { francecentral = { short = "frc", address_space = "10.20.0.0/24" } }
  }
  expect_failures = [azurerm_resource_group.this]
}

run "a_region_outside_refused" {
  command = plan
  variables { layout = { eastus = { short = "use", address_space = "10.30.0.0/24" } } }
  expect_failures = [var.layout]
}

run "a_fallback_beyond_the_layout_refused" {
  command = plan
  variables {
    layout = {
      swedencentral = { short = "swc", address_space = "10.10.0.0/24", fallback = ["norwayeast"] }
      francecentral = { short = "frc", address_space = "10.20.0.0/24" }
    }
  }
  expect_failures = [var.layout]
}

run "an_unknown_reach_refused" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], regional_processing = "country" } }
  expect_failures = [var.boundary]
}
