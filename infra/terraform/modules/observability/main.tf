# Where a boundary is watched from: logs, metrics, alerts, dashboards. All of it
# inside the boundary, because a label or a log line can name a client.

variable "name" {
  description = "Used in the names of everything."
  type        = string
}

variable "resource_group_name" {
  description = "The boundary's group."
  type        = string
}

variable "location" {
  description = "The Azure region."
  type        = string
}

variable "boundary" {
  description = "The boundary, as every layer gets it."
  type        = object({ locations = set(string) })
}

variable "retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 90
  validation {
    condition     = var.retention_days >= 30 && var.retention_days <= 730
    error_message = "Logs are kept for 30 to 730 days."
  }
}

variable "rules_file" {
  description = "The rules that Prometheus reads: the same file, so that Azure alerts on what was tested."
  type        = string
}

variable "dashboards_folder" {
  description = "Folder of Grafana dashboards, JSON."
  type        = string
}

variable "alert_email" {
  description = "Who is told."
  type        = string
  validation {
    condition     = can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", var.alert_email))
    error_message = "alert_email is an address."
  }
}

variable "grafana_viewer_group_id" {
  description = "Entra group that may look at the dashboards. Empty: nobody yet."
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

locals {
  groups     = { for g in yamldecode(file(var.rules_file)).groups : g.name => g }
  severities = { critical = 1, warning = 2, info = 3 }
  dashboards = { for f in fileset(var.dashboards_folder, "*.json") : trimsuffix(f, ".json") => file("${var.dashboards_folder}/${f}") }
}

resource "azurerm_log_analytics_workspace" "this" {
  name                         = "log-${var.name}"
  resource_group_name          = var.resource_group_name
  location                     = var.location
  sku                          = "PerGB2018"
  retention_in_days            = var.retention_days
  local_authentication_enabled = false
  tags                         = var.tags

  lifecycle {
    precondition {
      condition     = contains(var.boundary.locations, var.location)
      error_message = "location is outside the boundary."
    }
  }
}

resource "azurerm_monitor_workspace" "this" {
  name                          = "amw-${var.name}"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  public_network_access_enabled = false
  tags                          = var.tags
}

# What the services log (JSON lines, no prompts) and who signed in, from every
# machine that is associated with this rule.
resource "azurerm_monitor_data_collection_rule" "logs" {
  name                = "dcr-${var.name}-logs"
  resource_group_name = var.resource_group_name
  location            = var.location
  kind                = "Linux"
  destinations {
    log_analytics {
      workspace_resource_id = azurerm_log_analytics_workspace.this.id
      name                  = "workspace"
    }
  }
  data_flow {
    streams      = ["Microsoft-Syslog"]
    destinations = ["workspace"]
  }
  data_sources {
    syslog {
      name           = "syslog"
      facility_names = ["daemon", "auth", "authpriv"]
      log_levels     = ["Info", "Notice", "Warning", "Error", "Critical", "Alert", "Emergency"]
      streams        = ["Microsoft-Syslog"]
    }
  }
  tags = var.tags
}

resource "azurerm_monitor_action_group" "this" {
  name                = "ag-${var.name}"
  resource_group_name = var.resource_group_name
  short_name          = "stampgate"
  email_receiver {
    name                    = "operators"
    email_address           = var.alert_email
    use_common_alert_schema = true
  }
  tags = var.tags
}

resource "azurerm_monitor_alert_prometheus_rule_group" "this" {
  for_each            = local.groups
  name                = "${var.name}-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  scopes              = [azurerm_monitor_workspace.this.id]
  rule_group_enabled  = true
  interval            = "PT${upper(each.value.interval)}"
  dynamic "rule" {
    for_each = each.value.rules
    content {
      alert       = try(rule.value.alert, null)
      record      = try(rule.value.record, null)
      expression  = rule.value.expr
      for         = try("PT${upper(rule.value.for)}", null)
      labels      = try(rule.value.labels, null)
      annotations = try(rule.value.annotations, null)
      severity    = try(local.severities[rule.value.labels.severity], null)
      dynamic "action" {
        for_each = can(rule.value.alert) ? [1] : []
        content {
          action_group_id = azurerm_monitor_action_group.this.id
        }
      }
    }
  }
  tags = var.tags

  lifecycle {
    precondition {
      condition     = length(each.value.rules) <= 20
      error_message = "Azure takes 20 rules in a group at most: split ${each.key}."
    }
    precondition {
      condition     = alltrue([for r in each.value.rules : contains(keys(local.severities), r.labels.severity) if can(r.alert)])
      error_message = "An alert of ${each.key} has no severity of ours: critical, warning or info."
    }
  }
}

resource "azurerm_dashboard_grafana" "this" {
  name                          = substr("graf-${var.name}", 0, 23)
  resource_group_name           = var.resource_group_name
  location                      = var.location
  grafana_major_version         = "12"
  api_key_enabled               = false
  public_network_access_enabled = false
  identity {
    type = "SystemAssigned"
  }
  azure_monitor_workspace_integrations {
    resource_id = azurerm_monitor_workspace.this.id
  }
  tags = var.tags
}

# The way from Grafana to the workspace, which is closed to all else. It waits for
# somebody to approve it there: the provider cannot.
resource "azurerm_dashboard_grafana_managed_private_endpoint" "metrics" {
  name                         = "mpe-metrics"
  location                     = var.location
  grafana_id                   = azurerm_dashboard_grafana.this.id
  private_link_resource_id     = azurerm_monitor_workspace.this.id
  private_link_resource_region = var.location
  group_ids                    = ["prometheusMetrics"]
  request_message              = "Grafana of ${var.name}"
  tags                         = var.tags
}

resource "azurerm_role_assignment" "grafana_reads_metrics" {
  scope                = azurerm_monitor_workspace.this.id
  role_definition_name = "Monitoring Data Reader"
  principal_id         = azurerm_dashboard_grafana.this.identity[0].principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "viewers" {
  count                = var.grafana_viewer_group_id == "" ? 0 : 1
  scope                = azurerm_dashboard_grafana.this.id
  role_definition_name = "Grafana Viewer"
  principal_id         = var.grafana_viewer_group_id
  principal_type       = "Group"
}

output "log_analytics_workspace_id" {
  description = "For the audit logs of every part."
  value       = azurerm_log_analytics_workspace.this.id
}

output "metrics_rule_id" {
  description = "Data collection rule that the stamps' identities publish metrics to."
  value       = azurerm_monitor_workspace.this.default_data_collection_rule_id
}

output "logs_rule_id" {
  description = "Data collection rule that machines are associated with."
  value       = azurerm_monitor_data_collection_rule.logs.id
}

output "grafana_id" {
  description = "For a private endpoint to Grafana."
  value       = azurerm_dashboard_grafana.this.id
}

output "query_endpoint" {
  description = "Prometheus query endpoint."
  value       = azurerm_monitor_workspace.this.query_endpoint
}

output "dashboards" {
  description = "Dashboards by name. Terraform's provider cannot put them into Grafana: infra/grafana/import does."
  value       = local.dashboards
}
