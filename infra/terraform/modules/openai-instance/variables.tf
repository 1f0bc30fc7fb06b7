variable "name" {
  description = "Name of the account, and of its host NAME.openai.azure.com."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,62}[a-z0-9]$", var.name))
    error_message = "name becomes a host name: 3 to 64 lower-case letters, digits and hyphens."
  }
}

variable "resource_group_name" {
  description = "The region's group for instances, in the instances' own subscription."
  type        = string
}

variable "location" {
  description = "The Azure region."
  type        = string
}

variable "boundary" {
  description = "What the boundary allows."
  type = object({
    name            = string
    locations       = set(string)
    allow_data_zone = optional(bool, false)
    allow_global    = optional(bool, false)
  })
}

variable "deployments" {
  description = "Model deployments by name. capacity is in thousands of tokens per minute, or in provisioned units."
  type = map(object({
    model           = string
    version         = string
    sku             = optional(string, "Standard")
    capacity        = number
    rai_policy_name = optional(string)
  }))
  validation {
    condition     = length(var.deployments) > 0
    error_message = "An instance without deployments serves nothing."
  }
  validation {
    condition = alltrue([for d in values(var.deployments) : contains([
      "Standard", "ProvisionedManaged", "DataZoneStandard", "DataZoneProvisionedManaged", "DataZoneBatch",
    "GlobalStandard", "GlobalProvisionedManaged", "GlobalBatch"], d.sku)])
    error_message = "Unknown deployment SKU. Developer is not one of ours: it has no residency."
  }
  validation {
    condition     = var.boundary.allow_global || alltrue([for d in values(var.deployments) : !startswith(d.sku, "Global")])
    error_message = "A Global SKU may process prompts in any Azure region; boundary.allow_global is false."
  }
  validation {
    condition     = var.boundary.allow_data_zone || alltrue([for d in values(var.deployments) : !startswith(d.sku, "DataZone")])
    error_message = "A DataZone SKU may process prompts anywhere in Microsoft's data zone; boundary.allow_data_zone is false."
  }
  validation {
    condition     = alltrue([for d in values(var.deployments) : d.capacity >= 1 && floor(d.capacity) == d.capacity])
    error_message = "capacity is a whole number, at least 1."
  }
}

variable "gateway_principal_ids" {
  description = "Principals of the boundary's stamps, by region: each may call this instance, and nothing more. The same map for every instance, so that any stamp can fall back to any instance."
  type        = map(string)
  validation {
    condition     = length(var.gateway_principal_ids) > 0
    error_message = "No stamp may call this instance."
  }
}

variable "endpoint_cidrs" {
  description = "The endpoint subnets of the boundary's regions: where this instance's name may lead. A gateway dials nothing else under it."
  type        = list(string)
  validation {
    condition     = length(var.endpoint_cidrs) > 0 && alltrue([for c in var.endpoint_cidrs : can(cidrhost(c, 0)) && can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", c))])
    error_message = "endpoint_cidrs are ranges of private addresses: with a public one a gateway would follow the name out of the network."
  }
}

variable "emergency" {
  description = "An open emergency exit (see the runbook): one principal that may call this instance without the gateway, until then."
  type        = object({ principal_id = string, until = string })
  default     = null
  validation {
    condition     = var.emergency == null || try(timecmp(var.emergency.until, plantimestamp()) > 0 && timecmp(var.emergency.until, timeadd(plantimestamp(), "24h")) <= 0, false)
    error_message = "An emergency exit is open for at most 24 hours, and is removed when its time is over."
  }
}

variable "log_analytics_workspace_id" {
  description = "Where the instance's audit log goes."
  type        = string
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
