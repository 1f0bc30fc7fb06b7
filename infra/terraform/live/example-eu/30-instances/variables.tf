variable "instances_subscription_id" {
  description = "The instances' subscription."
  type        = string
  validation {
    condition     = var.instances_subscription_id != var.subscription_id
    error_message = "Instances have a subscription apart from the gateways': quota, roles and a mistake there stay there."
  }
}

variable "log_analytics_workspace_id" {
  description = "From layer 10-boundary."
  type        = string
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
