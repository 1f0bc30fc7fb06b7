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
  description = "The Azure Monitor workspace's metrics ingestion URL. Empty, in so many words: metrics stay on the machines, and of all alerts only StampgateNothingHeard fires, for ever."
  type        = string
}
