output "stamps" {
  description = "This region's entry of what the edge needs of all regions."
  value = { (var.location) = {
    private_link_service_id = module.stamp.private_link_service_id
    public_host_name        = module.stamp.public_host_name
  } }
}

output "gateway_config" {
  description = "What each machine of this region gets as its configuration."
  value       = module.stamp.gateway_config
}
