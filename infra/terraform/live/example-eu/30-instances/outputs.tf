output "instance_accounts" {
  description = "For the private endpoints of every stamp."
  value       = { for name, i in var.instances : name => { id = module.instance[name].id, tenant_id = var.tenant_id, location = i.location } }
}

output "policy" {
  description = "The boundary's policy: terraform output -raw policy >policy.yaml, then stampctl policy apply policy.yaml."
  value = yamlencode({
    boundary = var.boundary.name
    residency = {
      countries               = sort(var.boundary.countries)
      processing              = var.boundary.allow_global ? "at-rest" : "in-boundary"
      regionalProcessing      = var.boundary.regional_processing
      requirePrivateAddresses = true
    }
    stamps   = [for region in sort(keys(var.layout)) : { region = region, fallback = var.layout[region].fallback }]
    backends = [for name in sort(keys(var.instances)) : module.instance[name].backend]
    routes   = [for name in sort(keys(var.routes)) : merge({ name = name }, var.routes[name])]
    clients  = [for name in sort(keys(var.clients)) : merge({ name = name }, var.clients[name])]
  })
}
