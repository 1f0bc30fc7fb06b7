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
