mock_provider "azurerm" {}

run "example" {
  command = plan
  assert {
    condition     = toset(keys(azurerm_resource_group.this)) == toset(["swedencentral", "francecentral"])
    error_message = "a region has its own group"
  }
  assert {
    condition     = yamldecode(output.policy).boundary == "eu" && length(yamldecode(output.policy).backends) == 2
    error_message = "the policy names every instance"
  }
}

run "a_data_zone_does_not_open_the_fence" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], allow_data_zone = true } }
  assert {
    condition     = yamldecode(output.policy).residency.processing == "in-boundary"
    error_message = "at-rest would admit Global deployments too"
  }
}

run "global_deployments_are_at_rest_only" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], allow_global = true } }
  assert {
    condition     = yamldecode(output.policy).residency.processing == "at-rest"
    error_message = "a Global deployment processes anywhere"
  }
}

# westeurope shares a geography with Ireland.
run "one_country" {
  command = plan
  variables {
    boundary  = { name = "nl", countries = ["NL"], locations = ["westeurope"], regional_processing = "region" }
    layout    = { westeurope = { short = "weu", address_space = "10.10.0.0/24" } }
    regions   = { westeurope = var.regions["swedencentral"] }
    instances = { nl-1 = { location = "westeurope", deployments = { gpt = { model = "gpt-4o", version = "2024-11-20", capacity = 1 } } } }
  }
  assert {
    condition     = yamldecode(output.policy).residency.regionalProcessing == "region"
    error_message = "the policy says what the boundary says"
  }
}
