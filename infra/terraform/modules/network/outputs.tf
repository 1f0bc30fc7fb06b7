output "virtual_network_id" {
  description = "For peerings and private DNS links."
  value       = azurerm_virtual_network.this.id
}

output "virtual_network_name" {
  description = "For peerings."
  value       = azurerm_virtual_network.this.name
}

output "subnet_ids" {
  description = "Subnets by their part: gateway, pls, policy, database, platform, endpoint."
  value       = { for k, s in azurerm_subnet.this : k => s.id }
}

output "cidrs" {
  description = "The subnets' address ranges, by the same names."
  value       = local.cidr
}

output "private_dns_zone_ids" {
  description = "The region's private DNS zones by name."
  value       = { for k, z in azurerm_private_dns_zone.this : k => z.id }
}
