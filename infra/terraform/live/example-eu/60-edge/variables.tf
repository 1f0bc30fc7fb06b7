variable "host_name" {
  description = "The name that clients use."
  type        = string
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
