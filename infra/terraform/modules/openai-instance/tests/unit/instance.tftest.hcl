mock_provider "azurerm" {}

variables {
  name                       = "sg-aoai-swc-1"
  resource_group_name        = "rg"
  location                   = "swedencentral"
  boundary                   = { name = "eu", locations = ["swedencentral", "francecentral"] }
  gateway_principal_ids      = { swedencentral = "22222222-2222-2222-2222-222222222222", francecentral = "33333333-3333-3333-3333-333333333333" }
  endpoint_cidrs             = ["10.10.0.96/27", "10.20.0.96/27"]
  log_analytics_workspace_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/w"
  deployments                = { gpt = { model = "gpt-4o", version = "2024-08-06", capacity = 50 } }
}

run "closed_and_least_privileged" {
  command = plan
  assert {
    condition     = !azurerm_cognitive_account.this.local_auth_enabled && !azurerm_cognitive_account.this.public_network_access_enabled && azurerm_cognitive_account.this.network_acls[0].default_action == "Deny"
    error_message = "keys and public access are off"
  }
  assert {
    condition     = toset([for r in azurerm_role_assignment.gateway : r.role_definition_name]) == toset(["Cognitive Services OpenAI User"]) && length(azurerm_role_assignment.gateway) == 2
    error_message = "every stamp may call, and no more"
  }
  assert {
    condition     = azurerm_cognitive_deployment.this["gpt"].version_upgrade_option == "NoAutoUpgrade"
    error_message = "the version stays what the route says"
  }
  assert {
    condition     = length(azurerm_role_assignment.emergency) == 0
    error_message = "no standing exit"
  }
}

run "the_policy_gets_tokens_or_units" {
  command = plan
  variables {
    deployments = {
      pay = { model = "gpt-4o", version = "1", capacity = 50 }
      ptu = { model = "gpt-4o", version = "1", sku = "ProvisionedManaged", capacity = 100 }
    }
  }
  assert {
    condition     = output.backend.deployments[0].tokensPerMinute == 50000 && output.backend.deployments[1].ptu == 100
    error_message = "capacity means tokens for one, units for the other"
  }
  assert {
    condition     = output.backend.endpoint == "https://sg-aoai-swc-1.openai.azure.com" && output.backend.region == "swedencentral"
    error_message = "the endpoint follows from the name"
  }
}

run "global_refused" {
  command = plan
  variables { deployments = { gpt = { model = "gpt-4o", version = "1", sku = "GlobalStandard", capacity = 1 } } }
  expect_failures = [var.deployments]
}

run "data_zone_refused" {
  command = plan
  variables { deployments = { gpt = { model = "gpt-4o", version = "1", sku = "DataZoneStandard", capacity = 1 } } }
  expect_failures = [var.deployments]
}

run "data_zone_allowed_by_the_boundary" {
  command = plan
  variables {
    boundary    = { name = "eu", locations = ["swedencentral"], allow_data_zone = true }
    deployments = { gpt = { model = "gpt-4o", version = "1", sku = "DataZoneStandard", capacity = 1 } }
  }
}

run "developer_refused" {
  command = plan
  variables { deployments = { gpt = { model = "gpt-4o", version = "1", sku = "Developer", capacity = 1 } } }
  expect_failures = [var.deployments]
}

run "nothing_deployed_refused" {
  command = plan
  variables { deployments = {} }
  expect_failures = [var.deployments]
}

run "half_a_unit_refused" {
  command = plan
  variables { deployments = { gpt = { model = "gpt-4o", version = "1", capacity = 0.5 } } }
  expect_failures = [var.deployments]
}

run "no_stamp_refused" {
  command = plan
  variables { gateway_principal_ids = {} }
  expect_failures = [var.gateway_principal_ids]
}

run "bad_host_name_refused" {
  command = plan
  variables { name = "Not_A_Host" }
  expect_failures = [var.name]
}

run "wrong_region_refused" {
  command = plan
  variables { location = "eastus" }
  expect_failures = [azurerm_cognitive_account.this]
}

run "emergency_in_the_past_refused" {
  command = plan
  variables { emergency = { principal_id = "44444444-4444-4444-4444-444444444444", until = "2020-01-01T00:00:00Z" } }
  expect_failures = [var.emergency]
}

run "emergency_without_end_refused" {
  command = plan
  variables { emergency = { principal_id = "44444444-4444-4444-4444-444444444444", until = "2999-01-01T00:00:00Z" } }
  expect_failures = [var.emergency]
}

run "a_public_range_refused" {
  command = plan
  variables { endpoint_cidrs = ["20.50.0.0/24"] }
  expect_failures = [var.endpoint_cidrs]
}
