variable "name" {
  description = "Used in the names of everything."
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

variable "host_name" {
  description = "The name that clients use."
  type        = string
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

variable "boundary_resource_group_name" {
  description = "From layer 10-boundary."
  type        = string
}

variable "log_analytics_workspace_id" {
  description = "From layer 10-boundary."
  type        = string
}

variable "front_door_profile" {
  description = "From layer 10-boundary; null behind Traffic Manager."
  type        = object({ id = string, sku_name = string, resource_guid = string })
  default     = null
}

variable "dns_zone_id" {
  description = "Azure DNS zone of the host name, if it is there."
  type        = string
  default     = null
}

variable "stamps" {
  description = "From layer 50-stamp, of every region."
  type        = map(object({ private_link_service_id = optional(string), public_host_name = optional(string) }))
  validation {
    condition     = toset(keys(var.stamps)) == toset(keys(var.layout))
    error_message = "Every region of layout has a stamp before the edge is applied: take a lost region out of layout first."
  }
}
