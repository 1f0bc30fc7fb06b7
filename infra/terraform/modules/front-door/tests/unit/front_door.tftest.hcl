mock_provider "azurerm" {}

variables {
  profile                    = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Cdn/profiles/p", sku_name = "Premium_AzureFrontDoor" }
  name                       = "sgeu"
  boundary                   = { locations = ["swedencentral", "francecentral"] }
  resource_group_name        = "rg"
  host_name                  = "openai.example.com"
  log_analytics_workspace_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/w"
  stamps = {
    swc = { private_link_service_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateLinkServices/p", location = "swedencentral" }
    frc = { private_link_service_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateLinkServices/q", location = "francecentral" }
  }
}

run "private_origins_behind_a_waf" {
  command = plan
  assert {
    condition     = azurerm_cdn_frontdoor_origin_group.stamps.health_probe[0].path == "/health/stamp" && azurerm_cdn_frontdoor_origin_group.stamps.health_probe[0].request_type == "HEAD"
    error_message = "the stamp's own verdict decides"
  }
  assert {
    condition     = alltrue([for o in azurerm_cdn_frontdoor_origin.stamp : length(o.private_link) == 1 && o.certificate_name_check_enabled])
    error_message = "no origin is public"
  }
  assert {
    condition     = azurerm_cdn_frontdoor_firewall_policy.this.mode == "Prevention" && azurerm_cdn_frontdoor_firewall_policy.this.enabled && !azurerm_cdn_frontdoor_firewall_policy.this.request_body_check_enabled
    error_message = "the WAF blocks, and does not read prompts"
  }
  assert {
    condition     = azurerm_cdn_frontdoor_route.this.link_to_default_domain == false && toset(azurerm_cdn_frontdoor_route.this.supported_protocols) == toset(["Https"])
    error_message = "TLS, by the boundary's name only"
  }
}

run "a_single_stamp_is_not_probed" {
  command = plan
  variables { stamps = { swc = { private_link_service_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateLinkServices/p", location = "swedencentral" } } }
  assert {
    condition     = length(azurerm_cdn_frontdoor_origin_group.stamps.health_probe) == 0
    error_message = "it is used whatever the probes say"
  }
}

run "strict_refuses_front_door" {
  command = plan
  variables { boundary = { locations = ["swedencentral", "francecentral"], strict = true } }
  expect_failures = [azurerm_cdn_frontdoor_endpoint.this]
}

run "standard_refused" {
  command = plan
  variables { profile = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Cdn/profiles/p", sku_name = "Standard_AzureFrontDoor" } }
  expect_failures = [var.profile]
}

run "a_stamp_outside_the_boundary_refused" {
  command = plan
  variables { stamps = { use = { private_link_service_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateLinkServices/p", location = "eastus" } } }
  expect_failures = [var.stamps]
}

run "priority_six_refused" {
  command = plan
  variables { stamps = { swc = { private_link_service_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateLinkServices/p", location = "swedencentral", priority = 6 } } }
  expect_failures = [var.stamps]
}

run "a_probe_every_five_minutes_refused" {
  command = plan
  variables { probe_interval_seconds = 300 }
  expect_failures = [var.probe_interval_seconds]
}
