output "private_link_service_id" {
  description = "Behind Front Door: the origin."
  value       = one(azurerm_private_link_service.this[*].id)
}

output "public_host_name" {
  description = "Behind Traffic Manager: the endpoint."
  value       = local.public ? "${var.dns_label}.${var.location}.cloudapp.azure.com" : null
}

output "vmss_id" {
  description = "The scale set."
  value       = azurerm_orchestrated_virtual_machine_scale_set.this.id
}

output "gateway_config" {
  description = "What each machine gets as /etc/stampgate/gateway.yaml."
  value       = yamlencode(local.gateway)
}
