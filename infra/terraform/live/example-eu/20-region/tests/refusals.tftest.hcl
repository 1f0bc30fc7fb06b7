mock_provider "azurerm" {}

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

run "an_unknown_reach_refused" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], regional_processing = "country" } }
  expect_failures = [var.boundary]
}
