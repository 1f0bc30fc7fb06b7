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

variable "boundary" {
  description = "What the boundary is and what it allows."
  type = object({
    name                = string
    countries           = set(string)
    locations           = set(string)
    strict              = optional(bool, false)
    allow_data_zone     = optional(bool, false)
    allow_global        = optional(bool, false)
    regional_processing = optional(string, "geography")
  })
}

variable "edge" {
  description = "front-door or traffic-manager."
  type        = string
  validation {
    condition     = contains(["front-door", "traffic-manager"], var.edge)
    error_message = "edge is front-door or traffic-manager."
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

variable "location" {
  description = "The region to apply, one of layout."
  type        = string
}

variable "metrics_rule_id" {
  description = "From layer 10-boundary."
  type        = string
}

variable "client_cidrs" {
  description = "Behind Traffic Manager: who may connect."
  type        = list(string)
  default     = []
}

variable "operator_cidrs" {
  description = "From where operators reach the control plane."
  type        = list(string)
  default     = []
}

variable "emergency_clients" {
  description = "An open emergency exit, see the runbook."
  type        = map(object({ cidr = string, address = string, until = string }))
  default     = {}
}
