mock_provider "azurerm" {}

variables {
  name                    = "sgeu-swc"
  resource_group_name     = "rg"
  location                = "swedencentral"
  address_space           = "10.10.0.0/24"
  boundary_address_spaces = { swedencentral = "10.10.0.0/24", francecentral = "10.20.0.0/24" }
  boundary                = { locations = ["swedencentral", "francecentral"] }
  edge                    = "front-door"
}

run "cut_and_closed" {
  command = plan
  assert {
    condition     = output.cidrs == { gateway = "10.10.0.0/28", pls = "10.10.0.16/28", policy = "10.10.0.32/28", database = "10.10.0.48/28", platform = "10.10.0.64/28", endpoint = "10.10.0.96/27" }
    error_message = "the subnets do not overlap"
  }
  assert {
    condition     = alltrue([for s in azurerm_subnet.this : s.default_outbound_access_enabled == false])
    error_message = "Azure's default way out stays closed"
  }
  assert {
    condition     = azurerm_subnet.this["endpoint"].private_endpoint_network_policies == "Enabled" && azurerm_subnet.this["platform"].private_endpoint_network_policies == "Enabled"
    error_message = "or the rules of private endpoints would be ignored"
  }
  assert {
    condition     = toset(keys(azurerm_subnet_network_security_group_association.this)) == toset(keys(azurerm_subnet.this))
    error_message = "every subnet has its group"
  }
  assert {
    condition     = azurerm_network_security_rule.this["gateway/in-private-link"].source_address_prefix == "10.10.0.16/28" && !contains(keys(azurerm_network_security_rule.this), "gateway/in-clients")
    error_message = "behind Front Door only Private Link comes in"
  }
  assert {
    condition     = length([for k, r in azurerm_network_security_rule.this : k if startswith(k, "endpoint/in-") && r.access == "Allow"]) == 1
    error_message = "only the gateways reach the instances"
  }
  assert {
    condition     = !contains(keys(azurerm_network_security_rule.this), "policy/in-operators") && !contains(keys(azurerm_network_security_rule.this), "platform/in-operators")
    error_message = "operators come from where they were said to, or not at all"
  }
}

run "behind_traffic_manager" {
  command = plan
  variables {
    edge         = "traffic-manager"
    client_cidrs = ["Internet"]
  }
  assert {
    condition     = azurerm_network_security_rule.this["gateway/in-clients"].source_address_prefix == "Internet" && azurerm_network_security_rule.this["gateway/in-probers"].source_address_prefix == "AzureTrafficManager"
    error_message = "clients and probers connect"
  }
}

run "operators" {
  command = plan
  variables { operator_cidrs = ["10.99.0.0/24"] }
  assert {
    condition     = azurerm_network_security_rule.this["policy/in-operators"].source_address_prefix == "10.99.0.0/24" && azurerm_network_security_rule.this["policy/in-operators"].destination_port_range == "8444"
    error_message = "to the control plane and nothing else"
  }
}

run "strict_refuses_front_door" {
  command = plan
  variables { boundary = { locations = ["swedencentral"], strict = true } }
  expect_failures = [azurerm_virtual_network.this]
}

run "outside_the_boundary_refused" {
  command = plan
  variables { location = "eastus" }
  expect_failures = [azurerm_virtual_network.this]
}

run "not_a_24_refused" {
  command = plan
  variables {
    address_space           = "10.10.0.0/20"
    boundary_address_spaces = { swedencentral = "10.10.0.0/20" }
  }
  expect_failures = [var.address_space]
}

run "not_in_the_boundary_s_list_refused" {
  command = plan
  variables { boundary_address_spaces = { francecentral = "10.20.0.0/24" } }
  expect_failures = [var.boundary_address_spaces]
}

run "one_network_twice_refused" {
  command = plan
  variables { boundary_address_spaces = { swedencentral = "10.10.0.0/24", francecentral = "10.10.0.0/24" } }
  expect_failures = [var.boundary_address_spaces]
}

run "unknown_edge_refused" {
  command = plan
  variables { edge = "cdn" }
  expect_failures = [var.edge]
}

run "traffic_manager_without_clients_refused" {
  command = plan
  variables { edge = "traffic-manager" }
  expect_failures = [var.client_cidrs]
}

run "front_door_with_clients_refused" {
  command = plan
  variables { client_cidrs = ["Internet"] }
  expect_failures = [var.client_cidrs]
}

run "emergency_in_the_past_refused" {
  command = plan
  variables { emergency_clients = { hr = { cidr = "10.50.1.0/24", address = "10.10.0.100/32", until = "2020-01-01T00:00:00Z" } } }
  expect_failures = [var.emergency_clients]
}

run "emergency_without_end_refused" {
  command = plan
  variables { emergency_clients = { hr = { cidr = "10.50.1.0/24", address = "10.10.0.100/32", until = "2999-01-01T00:00:00Z" } } }
  expect_failures = [var.emergency_clients]
}

run "emergency_by_no_time_refused" {
  command = plan
  variables { emergency_clients = { hr = { cidr = "10.50.1.0/24", address = "10.10.0.100/32", until = "tomorrow" } } }
  expect_failures = [var.emergency_clients]
}

run "emergency_to_everything_refused" {
  command = plan
  variables { emergency_clients = { hr = { cidr = "10.50.1.0/24", address = "10.10.0.96/27", until = timeadd(timestamp(), "2h") } } }
  expect_failures = [var.emergency_clients]
}

run "emergency_for_two_hours" {
  command = plan
  variables { emergency_clients = { hr = { cidr = "10.50.1.0/24", address = "10.10.0.100/32", until = timeadd(timestamp(), "2h") } } }
  assert {
    condition     = azurerm_network_security_rule.this["endpoint/in-emergency-hr"].destination_address_prefix == "10.10.0.100/32"
    error_message = "one subnet to one endpoint"
  }
}
