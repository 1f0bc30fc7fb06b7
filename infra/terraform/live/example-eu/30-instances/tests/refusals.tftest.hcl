mock_provider "azurerm" {}

run "the_gateways_subscription_refused" {
  command = plan
  variables { instances_subscription_id = "00000000-0000-0000-0000-000000000001" }
  expect_failures = [var.instances_subscription_id]
}

run "a_route_to_nothing_refused" {
  command = plan
  variables { routes = { gpt-4o = { model = "gpt-4o", version = "1999-01-01" } } }
  expect_failures = [var.routes]
}

run "a_grant_of_nothing_refused" {
  command = plan
  variables { clients = { payroll = { routes = ["gpt-9"] } } }
  expect_failures = [var.clients]
}

run "an_emergency_exit_to_nothing_refused" {
  command = plan
  variables { emergency = { elsewhere = { principal_id = "44444444-4444-4444-4444-444444444444", until = "2020-01-01T00:00:00Z" } } }
  expect_failures = [var.emergency]
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
