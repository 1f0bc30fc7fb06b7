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
    allow_data_zone     = optional(bool, false) # the zone's countries must all be among countries
    allow_global        = optional(bool, false)
    regional_processing = optional(string, "geography")
  })
  validation {
    condition     = contains(["geography", "region"], var.boundary.regional_processing)
    error_message = "boundary.regional_processing is geography or region."
  }
}
