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
  validation {
    condition     = contains(["geography", "region"], var.boundary.regional_processing)
    error_message = "boundary.regional_processing is geography or region."
  }
}

variable "edge" {
  description = "front-door or traffic-manager."
  type        = string
  validation {
    condition     = contains(["front-door", "traffic-manager"], var.edge)
    error_message = "edge is front-door or traffic-manager."
  }
}

variable "home" {
  description = "Region of the stores and of observability."
  type        = string
}

variable "alert_email" {
  description = "Who is told of alerts."
  type        = string
}

variable "grafana_viewer_group_id" {
  description = "Entra group that may look at the dashboards."
  type        = string
  default     = ""
}

variable "enforce_guardrails" {
  description = "false only reports."
  type        = bool
  default     = true
}
