variable "name" {
  description = "Short name of the region, such as swc: host names begin with it."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9]{2,6}$", var.name))
    error_message = "name is 2 to 6 lower-case letters and digits: host names of gateways begin with it."
  }
}

variable "boundary" {
  description = "The boundary, as every layer gets it."
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

variable "tenant_id" {
  description = "The Entra tenant of this subscription."
  type        = string
}

variable "subscription_id" {
  description = "This subscription: the gateways', apart from the instances'."
  type        = string
}

variable "resource_group_name" {
  description = "The region's resource group."
  type        = string
}

variable "location" {
  description = "The Azure region."
  type        = string
}

variable "zones" {
  description = "Availability zones to spread the gateways over."
  type        = list(string)
  default     = ["1", "2", "3"]
  validation {
    condition     = length(distinct(var.zones)) >= 2 && length(distinct(var.zones)) == length(var.zones)
    error_message = "A stamp spreads over at least two availability zones, each named once."
  }
}

variable "instances" {
  description = "Gateways."
  type        = number
  default     = 3
  validation {
    condition     = var.instances >= 3
    error_message = "A stamp has at least three gateways, so that one can be replaced while another fails."
  }
  validation {
    condition     = var.instances <= 8
    error_message = "The gateway subnet has 11 addresses: eight gateways, the balancer's, and two for an upgrade's surge."
  }
}

variable "vm_size" {
  description = "Size of the machines."
  type        = string
  default     = "Standard_D2as_v5"
}

variable "image_id" {
  description = "Gallery image version with the release installed."
  type        = string
  validation {
    condition     = can(regex("/versions/[0-9]+\\.[0-9]+\\.[0-9]+$", var.image_id))
    error_message = "image_id names one version of a gallery image: with `latest` two gateways of a stamp could differ."
  }
}

variable "admin_ssh_public_key" {
  description = "Azure demands one. No rule of the network lets SSH in: use the serial console or Run Command."
  type        = string
}

variable "identity" {
  description = "The stamp's user-assigned identity: the same on each of its machines."
  type        = object({ id = string, client_id = string })
}

variable "subnet_ids" {
  description = "Of the network module."
  type        = object({ gateway = string, pls = string, endpoint = string })
}

variable "gateway_cidr" {
  description = "The gateway subnet's range: a new gateway looks for its peers at each of its addresses."
  type        = string
}

variable "private_dns_zone_id" {
  description = "The region's zone privatelink.openai.azure.com."
  type        = string
}

variable "openai_accounts" {
  description = "Every instance of the boundary, in any of its regions: each gets a private endpoint here, so that falling back to another region needs no path between the networks."
  type        = map(object({ id = string, tenant_id = string, location = string }))
  validation {
    condition     = length(var.openai_accounts) > 0
    error_message = "A stamp without instances serves nothing."
  }
  validation {
    condition     = length(var.openai_accounts) <= 26
    error_message = "The endpoint subnet has 27 usable addresses, and one stays free for a replacement."
  }
}

variable "edge" {
  description = "front-door or traffic-manager, as in the network module."
  type        = string
  validation {
    condition     = contains(["front-door", "traffic-manager"], var.edge)
    error_message = "edge is front-door or traffic-manager."
  }
}

variable "front_door_ids" {
  description = "Resource GUIDs of the Front Door profiles through which calls may come; gateways compare them with X-Azure-FDID."
  type        = list(string)
  default     = []
  validation {
    condition     = (var.edge == "front-door") == (length(var.front_door_ids) > 0)
    error_message = "Behind Front Door front_door_ids names its profile, and behind Traffic Manager it is empty."
  }
}

variable "dns_label" {
  description = "Behind Traffic Manager: label of the public address, LABEL.REGION.cloudapp.azure.com."
  type        = string
  default     = null
  validation {
    condition     = (var.edge == "traffic-manager") == (var.dns_label != null)
    error_message = "Behind Traffic Manager the stamp has a public address, which needs a dns_label; behind Front Door it has none."
  }
}

variable "etcd_endpoints" {
  description = "The boundary's etcd."
  type        = list(string)
  validation {
    condition     = length(var.etcd_endpoints) > 0 && alltrue([for e in var.etcd_endpoints : startswith(e, "https://")])
    error_message = "etcd is reached over TLS: https://ADDRESS:2379."
  }
}

variable "policy_keys" {
  description = "Public keys of whom a policy may be signed (stampctl signing-key prints them)."
  type        = list(string)
  validation {
    condition     = length(var.policy_keys) > 0 && alltrue([for k in var.policy_keys : startswith(k, "ed25519:")])
    error_message = "policy_keys holds ed25519:… keys."
  }
}

variable "key_vault_uri" {
  description = "The region's vault, with the secrets that stampgate-secrets fetches at start."
  type        = string
}

variable "metrics_ingestion_url" {
  description = "Remote-write URL of the boundary's Azure Monitor workspace. Empty: metrics stay on the machine."
  type        = string
  default     = ""
}

variable "logs_rule_id" {
  description = "Data collection rule for the machines' logs, of the observability module."
  type        = string
}

variable "drain_seconds" {
  description = "How a gateway stops: for balancers to notice, and for streams to end."
  type        = object({ notice = optional(number, 20), timeout = optional(number, 600) })
  default     = {}
  validation {
    condition     = var.drain_seconds.notice + var.drain_seconds.timeout <= 840
    error_message = "Azure waits 15 minutes for a machine to end at most: notice and timeout together are 840 seconds or less."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
