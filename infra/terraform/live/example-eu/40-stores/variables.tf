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

variable "home" {
  description = "Region of the stores and of observability."
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
