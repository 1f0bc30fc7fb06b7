variable "home" {
  description = "Region of the stores and of observability."
  type        = string
}

variable "admin_ssh_public_key" {
  description = "Azure demands one; no rule lets SSH in."
  type        = string
}

variable "store_image_id" {
  description = "Gallery image version with etcd and the release installed."
  type        = string
}

variable "grafana_id" {
  description = "From layer 10-boundary."
  type        = string
}

variable "etcd_members" {
  description = "Members by name: region, zone, and the number of its address in the policy subnet."
  type        = map(object({ location = string, zone = string, host = number }))
  validation {
    condition     = alltrue([for m in values(var.etcd_members) : m.host >= 4 && m.host <= 14])
    error_message = "Azure keeps the first four addresses of a subnet and the last: host is 4 to 14."
  }
}

variable "ledger_administrators" {
  description = "Entra principals that administer the ledger's database."
  type        = map(object({ object_id = string, principal_type = string }))
}

variable "trusted_policy_keys" {
  description = "Public keys that signed policies before the present signing key, while a new one takes over."
  type        = list(string)
  default     = []
}
