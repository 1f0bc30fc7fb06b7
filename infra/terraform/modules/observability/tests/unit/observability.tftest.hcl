mock_provider "azurerm" {
  mock_resource "azurerm_dashboard_grafana" {
    defaults = { identity = { principal_id = "66666666-6666-6666-6666-666666666666" } }
  }
}

variables {
  name                = "sgeu"
  resource_group_name = "rg"
  location            = "swedencentral"
  boundary            = { locations = ["swedencentral"] }
  alert_email         = "operators@example.com"
  rules_file          = "../../../prometheus/rules.yml"
  dashboards_folder   = "../../../grafana"
}

run "the_rules_that_promtool_tested" {
  command = plan
  assert {
    condition     = toset(keys(azurerm_monitor_alert_prometheus_rule_group.this)) == toset([for g in yamldecode(file("../../../prometheus/rules.yml")).groups : g.name])
    error_message = "every group of the file is one of Azure's"
  }
  assert {
    condition     = sum([for g in azurerm_monitor_alert_prometheus_rule_group.this : length(g.rule)]) == sum([for g in yamldecode(file("../../../prometheus/rules.yml")).groups : length(g.rules)])
    error_message = "with all its rules"
  }
  assert {
    condition     = alltrue(flatten([for g in azurerm_monitor_alert_prometheus_rule_group.this : [for r in g.rule : r.alert == null ? true : (r.severity == null ? 0 : r.severity) >= 1 && can(regex("^PT[0-9]+[MH]$", r.for))]]))
    error_message = "alerts have a severity and a duration that Azure reads"
  }
  assert {
    condition     = !azurerm_log_analytics_workspace.this.local_authentication_enabled && !azurerm_monitor_workspace.this.public_network_access_enabled && !azurerm_dashboard_grafana.this.public_network_access_enabled
    error_message = "no keys, nothing public"
  }
  assert {
    condition     = length(output.dashboards) >= 1
    error_message = "the dashboards are handed over"
  }
}

run "grafana_reads_the_private_workspace" {
  command = plan
  assert {
    condition     = one(azurerm_dashboard_grafana_managed_private_endpoint.metrics.group_ids) == "prometheusMetrics" && can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,18}[a-zA-Z0-9]$", azurerm_dashboard_grafana_managed_private_endpoint.metrics.name))
    error_message = "the workspace is closed to all else"
  }
}

run "outside_the_boundary_refused" {
  command = plan
  variables { location = "eastus" }
  expect_failures = [azurerm_log_analytics_workspace.this]
}

run "a_large_group_refused" {
  command = plan
  variables { rules_file = "tests/unit/too_many.yml" }
  expect_failures = [azurerm_monitor_alert_prometheus_rule_group.this]
}

run "an_alert_without_severity_refused" {
  command = plan
  variables { rules_file = "tests/unit/no_severity.yml" }
  expect_failures = [azurerm_monitor_alert_prometheus_rule_group.this]
}

run "a_week_of_logs_refused" {
  command = plan
  variables { retention_days = 7 }
  expect_failures = [var.retention_days]
}

run "no_address_refused" {
  command = plan
  variables { alert_email = "operators" }
  expect_failures = [var.alert_email]
}
