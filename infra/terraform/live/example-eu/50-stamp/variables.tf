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

variable "front_door_profile" {
  description = "From layer 10-boundary; null behind Traffic Manager."
  type        = object({ id = string, sku_name = string, resource_guid = string })
  default     = null
}

variable "admin_ssh_public_key" {
  description = "Azure demands one; no rule lets SSH in."
  type        = string
}

variable "image_id" {
  description = "Gallery image version with the release installed."
  type        = string
}

variable "policy_keys" {
  description = "Public keys of whom a policy may be signed."
  type        = list(string)
}

variable "logs_rule_id" {
  description = "From layer 10-boundary."
  type        = string
}

variable "etcd_endpoints" {
  description = "From layer 40-stores."
  type        = list(string)
}

variable "instance_accounts" {
  description = "From layer 30-instances."
  type        = map(object({ id = string, tenant_id = string, location = string }))
}

variable "metrics_ingestion_url" {
  description = "The Azure Monitor workspace's metrics ingestion URL. Empty, in so many words: metrics stay on the machines, and no alert ever fires."
  type        = string
}
