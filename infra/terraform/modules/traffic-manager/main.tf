# Traffic Manager in front of a boundary: it answers names and never sees a
# request, so that TLS ends at a gateway inside the boundary.

variable "name" {
  description = "Label of the profile: NAME.trafficmanager.net."
  type        = string
}

variable "resource_group_name" {
  description = "The boundary's group."
  type        = string
}

variable "boundary" {
  description = "The boundary, as every layer gets it."
  type        = object({ locations = set(string) })
}

variable "host_name" {
  description = "The name that clients use: a CNAME to this profile. The gateways' certificate is for it."
  type        = string
}

variable "stamps" {
  description = "Stamps by region, with the host name of their public address."
  type = map(object({
    target   = string
    location = string
    weight   = optional(number, 100)
  }))
  validation {
    condition     = length(var.stamps) > 0 && alltrue([for s in values(var.stamps) : contains(var.boundary.locations, s.location)])
    error_message = "Every endpoint is a stamp in a location of the boundary: when all fail their probes, Traffic Manager names all of them."
  }
}

variable "probe" {
  description = "The default moves traffic after 22 s and finds a dead stamp after 25 s; interval 30, timeout 10, tolerated 3, TTL 60 after 182 s."
  type = object({
    interval  = optional(number, 10)
    timeout   = optional(number, 5)
    tolerated = optional(number, 0)
    ttl       = optional(number, 10)
  })
  default = {}
  validation {
    condition     = contains([10, 30], var.probe.interval) && var.probe.timeout >= 5 && var.probe.timeout <= (var.probe.interval == 10 ? 9 : 10)
    error_message = "Traffic Manager probes every 30 s with a timeout of 5 to 10 s, or every 10 s with one of 5 to 9 s."
  }
  validation {
    condition     = var.probe.tolerated >= 0 && var.probe.tolerated <= 9 && var.probe.ttl >= 0 && var.probe.ttl <= 300
    error_message = "0 to 9 failures are tolerated; a TTL over 300 s would send clients to a dead stamp for as long."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

resource "azurerm_traffic_manager_profile" "this" {
  name                   = "tm-${var.name}"
  resource_group_name    = var.resource_group_name
  traffic_routing_method = "Performance" # the nearest stamp; all of them are inside the boundary
  dns_config {
    relative_name = var.name
    ttl           = var.probe.ttl
  }
  monitor_config {
    protocol                     = "HTTPS"
    port                         = 443
    path                         = "/health/stamp"
    interval_in_seconds          = var.probe.interval
    timeout_in_seconds           = var.probe.timeout
    tolerated_number_of_failures = var.probe.tolerated
    expected_status_code_ranges  = ["200-200"]
    custom_header {
      name  = "Host"
      value = var.host_name
    }
  }
  tags = var.tags
}

resource "azurerm_traffic_manager_external_endpoint" "stamp" {
  for_each          = var.stamps
  name              = each.key
  profile_id        = azurerm_traffic_manager_profile.this.id
  target            = each.value.target
  endpoint_location = each.value.location
  weight            = each.value.weight
}

output "fqdn" {
  description = "Target of the CNAME of the host name."
  value       = azurerm_traffic_manager_profile.this.fqdn
}
