output "boundary_resource_group_name" {
  description = "For the edge."
  value       = azurerm_resource_group.this.name
}

output "log_analytics_workspace_id" {
  description = "For the audit logs of instances and edge."
  value       = module.observability.log_analytics_workspace_id
}

output "metrics_rule_id" {
  description = "For the stamps' identities."
  value       = module.observability.metrics_rule_id
}

output "logs_rule_id" {
  description = "For the stamps' machines."
  value       = module.observability.logs_rule_id
}

output "grafana_id" {
  description = "For the private endpoint that operators look through."
  value       = module.observability.grafana_id
}

output "front_door_profile" {
  description = "For stamps and edge; null behind Traffic Manager."
  value = one([for p in azurerm_cdn_frontdoor_profile.this : {
    id            = p.id
    sku_name      = p.sku_name
    resource_guid = p.resource_guid
  }])
}
