variable "name" {
  description = "Used in the names of everything."
  type        = string
}

variable "tenant_id" {
  description = "The one Entra tenant of both subscriptions."
  type        = string
}

variable "subscription_id" {
  description = "The gateways' subscription."
  type        = string
}

variable "instances_subscription_id" {
  description = "The instances' subscription."
  type        = string
  validation {
    condition     = var.instances_subscription_id != var.subscription_id
    error_message = "Instances have a subscription apart from the gateways': quota, roles and a mistake there stay there."
  }
}

variable "boundary" {
  description = "What the boundary is and what it allows."
  type = object({
    name                = string
    countries           = set(string)
    locations           = set(string)
    strict              = optional(bool, false)
    allow_data_zone     = optional(bool, false) # the zone's countries must all be among countries
    allow_global        = optional(bool, false)
    regional_processing = optional(string, "geography")
  })
  validation {
    condition     = contains(["geography", "region"], var.boundary.regional_processing)
    error_message = "boundary.regional_processing is geography or region."
  }
}

variable "layout" {
  description = "The boundary's regions."
  type = map(object({
    short         = string
    address_space = string
    fallback      = optional(list(string), [])
    zones         = optional(list(string), ["1", "2", "3"])
    instances     = optional(number, 3)
    weight        = optional(number, 100)
  }))
  validation {
    condition     = alltrue([for region in keys(var.layout) : contains(var.boundary.locations, region)])
    error_message = "Every region of layout is a location of the boundary."
  }
  validation {
    condition     = alltrue(flatten([for region, r in var.layout : [for f in r.fallback : f != region && contains(keys(var.layout), f)]]))
    error_message = "A region falls back to other regions of layout, never beyond."
  }
}

variable "log_analytics_workspace_id" {
  description = "From layer 10-boundary."
  type        = string
}

variable "regions" {
  description = "From layer 20-region, of every region."
  type = map(object({
    resource_group_name  = string
    virtual_network_id   = string
    virtual_network_name = string
    subnet_ids           = map(string)
    cidrs                = map(string)
    private_dns_zone_ids = map(string)
    identity             = object({ id = string, client_id = string, principal_id = string })
    key_vault_uri        = string
  }))
}

variable "instances" {
  description = "Azure OpenAI instances by name."
  type = map(object({
    location = string
    deployments = map(object({
      model           = string
      version         = string
      sku             = optional(string, "Standard")
      capacity        = number
      rai_policy_name = optional(string)
    }))
  }))
}

variable "emergency" {
  description = "An open emergency exit by the name of its instance, see the runbook."
  type        = map(object({ principal_id = string, until = string }))
  default     = {}
  validation {
    condition     = length(var.emergency) <= 1 && alltrue([for name in keys(var.emergency) : contains(keys(var.instances), name)])
    error_message = "An emergency exit leads to one instance of this boundary."
  }
}

variable "routes" {
  description = "Routes of the policy by name."
  type        = map(object({ model = string, version = string }))
  validation {
    condition = alltrue([for r in values(var.routes) : anytrue(flatten([for i in values(var.instances) :
    [for d in values(i.deployments) : d.model == r.model && d.version == r.version]]))])
    error_message = "A route names a model and version that no instance deploys."
  }
}

variable "clients" {
  description = "Clients of the policy by name."
  type = map(object({
    routes = list(string)
    keys   = optional(list(object({ sha256 = string, notAfter = string })), [])
  }))
  validation {
    condition     = alltrue(flatten([for c in values(var.clients) : [for r in c.routes : contains(keys(var.routes), r)]]))
    error_message = "A client is granted a route that there is not."
  }
}

variable "enforce_guardrails" {
  description = "false only reports."
  type        = bool
  default     = true
}
