mock_provider "azurerm" {}

variables {
  name                 = "swc"
  boundary             = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"] }
  tenant_id            = "aaaaaaaa-0000-0000-0000-000000000000"
  subscription_id      = "00000000-0000-0000-0000-000000000001"
  resource_group_name  = "rg"
  location             = "swedencentral"
  image_id             = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/stampgate/versions/1.0.0"
  admin_ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ops"
  identity             = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i", client_id = "33333333-2222-2222-2222-222222222222" }
  subnet_ids           = { gateway = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-gateway", pls = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-pls", endpoint = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-endpoint" }
  gateway_cidr         = "10.10.0.0/28"
  private_dns_zone_id  = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/privatelink.openai.azure.com"
  openai_accounts = {
    sg-aoai-swc-1 = { id = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/a", tenant_id = "aaaaaaaa-0000-0000-0000-000000000000", location = "swedencentral" }
    sg-aoai-frc-1 = { id = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/b", tenant_id = "aaaaaaaa-0000-0000-0000-000000000000", location = "francecentral" }
  }
  edge           = "front-door"
  front_door_ids = ["11111111-2222-3333-4444-555555555555"]
  etcd_endpoints = ["https://10.10.0.36:2379"]
  policy_keys    = ["ed25519:AAAA"]
  key_vault_uri  = "https://kv-sgeu-swc.vault.azure.net/"
  logs_rule_id   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Insights/dataCollectionRules/dcr"
}

run "behind_front_door" {
  command = plan
  assert {
    condition     = length(azurerm_public_ip.edge) == 0 && length(azurerm_private_link_service.this) == 1 && azurerm_lb.this.frontend_ip_configuration[0].subnet_id == var.subnet_ids.gateway
    error_message = "no public address: Front Door comes over Private Link"
  }
  assert {
    condition     = azurerm_orchestrated_virtual_machine_scale_set.this.instances == 3 && toset(azurerm_orchestrated_virtual_machine_scale_set.this.zones) == toset(["1", "2", "3"])
    error_message = "three gateways over three zones"
  }
  assert {
    condition     = toset(azurerm_orchestrated_virtual_machine_scale_set.this.identity[0].identity_ids) == toset([var.identity.id])
    error_message = "one identity on every machine"
  }
  assert {
    condition     = length(azurerm_private_endpoint.openai) == 2 && alltrue([for p in azurerm_private_endpoint.openai : p.subnet_id == var.subnet_ids.endpoint])
    error_message = "an endpoint to every instance of the boundary, all in one subnet"
  }
  assert {
    condition     = one(yamldecode(output.gateway_config).frontDoor.ids) == "11111111-2222-3333-4444-555555555555"
    error_message = "the gateway checks X-Azure-FDID"
  }
  assert {
    condition     = yamldecode(output.gateway_config).limits.connectionsPerSource == 16384
    error_message = "all clients come from the one address of Private Link: it may have every connection"
  }
  assert {
    condition     = length(yamldecode(output.gateway_config).gossip.join) == 11 && yamldecode(output.gateway_config).gossip.join[0] == "10.10.0.4:7946" && yamldecode(output.gateway_config).gossip.join[10] == "10.10.0.14:7946"
    error_message = "every usable address of the subnet may be a peer"
  }
  assert {
    condition     = azurerm_lb_probe.ready.request_path == "/health/ready" && azurerm_lb_probe.ready.protocol == "Https"
    error_message = "the balancer asks whether this gateway should get traffic"
  }
}

run "behind_traffic_manager" {
  command = plan
  variables {
    boundary       = { name = "eu", countries = ["SE"], locations = ["swedencentral", "francecentral"], strict = true }
    edge           = "traffic-manager"
    front_door_ids = []
    dns_label      = "sgeu-swc"
  }
  assert {
    condition     = length(azurerm_public_ip.edge) == 1 && length(azurerm_private_link_service.this) == 0
    error_message = "clients connect to the region's own address"
  }
  assert {
    condition     = output.public_host_name == "sgeu-swc.swedencentral.cloudapp.azure.com"
    error_message = "what Traffic Manager answers with"
  }
  assert {
    condition     = !can(yamldecode(output.gateway_config).limits.connectionsPerSource)
    error_message = "clients have addresses of their own: no single one takes every connection"
  }
}

run "a_data_zone_does_not_open_the_fence" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], allow_data_zone = true } }
  assert {
    condition     = yamldecode(output.gateway_config).residency.processing == "in-boundary"
    error_message = "at-rest would admit Global deployments too"
  }
}

run "global_deployments_are_at_rest_only" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], allow_global = true } }
  assert {
    condition     = yamldecode(output.gateway_config).residency.processing == "at-rest"
    error_message = "a Global deployment processes anywhere"
  }
}

run "metrics_are_sent_with_the_identity" {
  command = plan
  variables { metrics_ingestion_url = "https://dce.swedencentral-1.metrics.ingest.monitor.azure.com/write" }
  assert {
    condition     = strcontains(base64decode(azurerm_orchestrated_virtual_machine_scale_set.this.os_profile[0].custom_data), "stampgate-metrics.service")
    error_message = "the agent runs"
  }
  assert {
    condition     = strcontains(base64decode(azurerm_orchestrated_virtual_machine_scale_set.this.os_profile[0].custom_data), "$(hostname)")
    error_message = "each gateway's series carry its own name"
  }
}

run "strict_refuses_front_door" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE"], locations = ["swedencentral", "francecentral"], strict = true } }
  expect_failures = [azurerm_orchestrated_virtual_machine_scale_set.this]
}

run "outside_the_boundary_refused" {
  command = plan
  variables { location = "eastus" }
  expect_failures = [azurerm_orchestrated_virtual_machine_scale_set.this]
}

run "a_region_without_instances_refused" {
  command = plan
  variables {
    openai_accounts = { b = { id = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/b", tenant_id = "aaaaaaaa-0000-0000-0000-000000000000", location = "francecentral" } }
  }
  expect_failures = [azurerm_orchestrated_virtual_machine_scale_set.this]
}

run "an_instance_of_another_tenant_refused" {
  command = plan
  variables {
    openai_accounts = { a = { id = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/a", tenant_id = "bbbbbbbb-0000-0000-0000-000000000000", location = "swedencentral" } }
  }
  expect_failures = [azurerm_private_endpoint.openai]
}

run "an_instance_in_our_subscription_refused" {
  command = plan
  variables {
    openai_accounts = { a = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/a", tenant_id = "aaaaaaaa-0000-0000-0000-000000000000", location = "swedencentral" } }
  }
  expect_failures = [azurerm_private_endpoint.openai]
}

run "an_instance_outside_the_boundary_refused" {
  command = plan
  variables {
    openai_accounts = {
      home = { id = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/h", tenant_id = "aaaaaaaa-0000-0000-0000-000000000000", location = "swedencentral" }
      a    = { id = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/a", tenant_id = "aaaaaaaa-0000-0000-0000-000000000000", location = "eastus" }
    }
  }
  expect_failures = [azurerm_private_endpoint.openai]
}

run "no_instances_refused" {
  command = plan
  variables { openai_accounts = {} }
  expect_failures = [var.openai_accounts]
}

run "more_instances_than_addresses_refused" {
  command = plan
  variables {
    openai_accounts = { for n in range(27) : "a${n}" => { id = "/subscriptions/00000000-0000-0000-0000-000000000002/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/a${n}", tenant_id = "aaaaaaaa-0000-0000-0000-000000000000", location = "swedencentral" } }
  }
  expect_failures = [var.openai_accounts]
}

run "two_gateways_refused" {
  command = plan
  variables { instances = 2 }
  expect_failures = [var.instances]
}

run "nine_gateways_refused" {
  command = plan
  variables { instances = 9 }
  expect_failures = [var.instances]
}

run "one_zone_refused" {
  command = plan
  variables { zones = ["1"] }
  expect_failures = [var.zones]
}

run "a_zone_twice_refused" {
  command = plan
  variables { zones = ["1", "1", "2"] }
  expect_failures = [var.zones]
}

run "latest_image_refused" {
  command = plan
  variables { image_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/stampgate/versions/latest" }
  expect_failures = [var.image_id]
}

run "long_name_refused" {
  command = plan
  variables { name = "swedencentral" }
  expect_failures = [var.name]
}

run "front_door_without_its_id_refused" {
  command = plan
  variables { front_door_ids = [] }
  expect_failures = [var.front_door_ids]
}

run "front_door_with_a_public_label_refused" {
  command = plan
  variables { dns_label = "sgeu-swc" }
  expect_failures = [var.dns_label]
}

run "unknown_edge_refused" {
  command = plan
  variables { edge = "cdn" }
  expect_failures = [var.edge]
}

run "etcd_in_clear_refused" {
  command = plan
  variables { etcd_endpoints = ["http://10.10.0.36:2379"] }
  expect_failures = [var.etcd_endpoints]
}

run "unknown_kind_of_key_refused" {
  command = plan
  variables { policy_keys = ["rsa:AAAA"] }
  expect_failures = [var.policy_keys]
}

run "a_drain_that_azure_would_cut_refused" {
  command = plan
  variables { drain_seconds = { notice = 60, timeout = 900 } }
  expect_failures = [var.drain_seconds]
}

run "an_unknown_reach_refused" {
  command = plan
  variables { boundary = { name = "eu", countries = ["SE", "FR"], locations = ["swedencentral", "francecentral"], regional_processing = "country" } }
  expect_failures = [var.boundary]
}
