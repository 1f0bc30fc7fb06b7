output "etcd_endpoints" {
  description = "For the stamps."
  value       = module.policy_store.endpoints
}

output "controlplane_urls" {
  description = "For stampctl, from where operators may come."
  value       = [for e in module.policy_store.endpoints : replace(e, ":2379", ":8444")]
}

output "ledger_host_name" {
  description = "The ledger's database."
  value       = module.ledger.host_name
}
