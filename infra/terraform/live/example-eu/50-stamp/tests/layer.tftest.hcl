mock_provider "azurerm" {}

run "example" {
  command = plan
  assert {
    condition     = yamldecode(output.gateway_config).region == var.location && one(yamldecode(output.gateway_config).frontDoor.ids) == "11111111-2222-3333-4444-555555555555"
    error_message = "each region its own, behind the boundary's Front Door"
  }
}

run "strict" {
  command = plan
  variables {
    boundary           = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], strict = true }
    edge               = "traffic-manager"
    front_door_profile = null
  }
  assert {
    condition     = endswith(output.stamps[var.location].public_host_name, ".${var.location}.cloudapp.azure.com")
    error_message = "Traffic Manager answers with the region's own address"
  }
}

# westeurope shares a geography with Ireland.
run "one_country" {
  command = plan
  variables {
    boundary          = { name = "nl", countries = ["NL"], locations = ["westeurope"], regional_processing = "region" }
    layout            = { westeurope = { short = "weu", address_space = "10.10.0.0/24" } }
    location          = "westeurope"
    regions           = { westeurope = var.regions["swedencentral"] }
    instance_accounts = { nl-1 = merge(var.instance_accounts["sgeu-aoai-swc-1"], { location = "westeurope" }) }
  }
  assert {
    condition     = yamldecode(output.gateway_config).residency.regionalProcessing == "region"
    error_message = "the gateway says what the boundary says: it takes no wider policy than its own"
  }
}
