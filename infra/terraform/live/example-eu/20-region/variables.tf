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
