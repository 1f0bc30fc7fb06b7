variable "name" {
  description = "Used in the names of everything in this network."
  type        = string
}

variable "resource_group_name" {
  description = "The region's resource group: everything of the region goes with it, and nothing else."
  type        = string
}

variable "location" {
  description = "The Azure region."
  type        = string
}

variable "address_space" {
  description = "The region's network, a /24. It is cut into the subnets here, so that nobody computes them by hand."
  type        = string
  validation {
    condition     = can(cidrhost(var.address_space, 0)) && endswith(var.address_space, "/24")
    error_message = "address_space is a /24, for example 10.10.0.0/24."
  }
}

variable "boundary_address_spaces" {
  description = "The networks of all regions of the boundary, this one included: their gateways follow the same etcd."
  type        = map(string)
  validation {
    condition     = contains(values(var.boundary_address_spaces), var.address_space)
    error_message = "boundary_address_spaces does not hold this network itself."
  }
  validation {
    condition     = length(distinct([for s in values(var.boundary_address_spaces) : cidrhost(s, 0)])) == length(var.boundary_address_spaces)
    error_message = "Two regions of the boundary have the same network: they could not be peered."
  }
}

variable "boundary" {
  description = "The boundary, as every layer gets it."
  type = object({
    locations = set(string)
    strict    = optional(bool, false)
  })
}

variable "edge" {
  description = "What stands in front: front-door (over Private Link) or traffic-manager (clients connect to the region's own public address)."
  type        = string
  validation {
    condition     = contains(["front-door", "traffic-manager"], var.edge)
    error_message = "edge is front-door or traffic-manager."
  }
}

variable "client_cidrs" {
  description = "Behind Traffic Manager: who may connect. [\"Internet\"] for everybody. Behind Front Door nobody connects directly, so it stays empty."
  type        = list(string)
  default     = []
  validation {
    condition     = var.edge == "traffic-manager" ? length(var.client_cidrs) > 0 : length(var.client_cidrs) == 0
    error_message = "client_cidrs says who may connect behind Traffic Manager, and is empty behind Front Door, which comes over Private Link."
  }
}

variable "emergency_clients" {
  description = "An open emergency exit (see the runbook): client subnets that go straight to the endpoint subnet. Each has an end, and none is here in ordinary times."
  type = map(object({
    cidr    = string
    address = string # of one private endpoint, never the whole subnet
    until   = string # RFC 3339
  }))
  default = {}
  validation {
    condition     = alltrue([for e in values(var.emergency_clients) : endswith(e.address, "/32") && can(cidrhost(e.cidr, 0))])
    error_message = "An emergency exit leads from one subnet to one private endpoint: address ends with /32."
  }
  validation {
    condition     = alltrue([for e in values(var.emergency_clients) : try(timecmp(e.until, plantimestamp()) > 0 && timecmp(e.until, timeadd(plantimestamp(), "24h")) <= 0, false)])
    error_message = "An emergency exit is open for at most 24 hours, and is removed when its time is over."
  }
}

variable "operator_cidrs" {
  description = "From where operators reach the control plane, Grafana and the vaults. Empty: from nowhere."
  type        = list(string)
  default     = []
}

variable "ports" {
  description = "The ports of the parts, as their configurations have them."
  type = object({
    gateway      = optional(number, 8443)
    gossip       = optional(number, 7946)
    etcd         = optional(number, 2379)
    etcd_peer    = optional(number, 2380)
    controlplane = optional(number, 8444)
    database     = optional(number, 5432)
  })
  default = {}
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
