output "cname_target" {
  description = "What the host name is a CNAME of."
  value       = coalesce(one(module.front_door[*].endpoint_host_name), one(module.traffic_manager[*].fqdn))
}

output "validation_token" {
  description = "TXT record _dnsauth of the host name, where Azure DNS does not hold it; null behind Traffic Manager."
  value       = one(module.front_door[*].validation_token)
}
