output "id" {
  description = "Resource id, for the private endpoints of the stamps."
  value       = azurerm_cognitive_account.this.id
}

output "backend" {
  description = "This instance as the policy of the boundary names it: an entry of `backends`. Known before anything exists, because the host follows from the name."
  value = {
    name       = var.name
    region     = var.location
    endpoint   = "https://${var.name}.openai.azure.com"
    addresses  = var.endpoint_cidrs
    credential = { managedIdentity = {} }
    deployments = [for name in sort(keys(var.deployments)) : merge(
      { name = name, model = var.deployments[name].model, version = var.deployments[name].version, sku = var.deployments[name].sku },
      strcontains(var.deployments[name].sku, "Provisioned") ?
      { ptu = var.deployments[name].capacity } : { tokensPerMinute = var.deployments[name].capacity * 1000 },
    )]
  }
}
