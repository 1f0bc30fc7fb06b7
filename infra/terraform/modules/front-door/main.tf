# Front Door in front of a boundary: WAF, private origins, one profile for one
# boundary. The profile is made before the stamps, which need its id, and the
# origins after them.

variable "name" {
  description = "Name of the endpoint."
  type        = string
}

variable "resource_group_name" {
  description = "The boundary's group."
  type        = string
}

variable "boundary" {
  description = "The boundary, as every layer gets it."
  type = object({
    locations = set(string)
    strict    = optional(bool, false)
  })
}

variable "profile" {
  description = "The Front Door profile, made before the stamps: they need its resource_guid."
  type        = object({ id = string, sku_name = string })
  validation {
    condition     = var.profile.sku_name == "Premium_AzureFrontDoor"
    error_message = "Private origins need Premium_AzureFrontDoor."
  }
}

variable "host_name" {
  description = "The name that clients use. The gateways' certificate is for it."
  type        = string
}

variable "dns_zone_id" {
  description = "Azure DNS zone of the host name, if it is there."
  type        = string
  default     = null
}

variable "stamps" {
  description = "Origins by region."
  type = map(object({
    private_link_service_id = string
    location                = string
    priority                = optional(number, 1)
    weight                  = optional(number, 100)
  }))
  validation {
    condition     = length(var.stamps) > 0 && alltrue([for s in values(var.stamps) : contains(var.boundary.locations, s.location)])
    error_message = "Every origin is a stamp in a location of the boundary: when all fail their probes, Front Door spreads traffic over all of them."
  }
  validation {
    condition     = alltrue([for s in values(var.stamps) : s.priority >= 1 && s.priority <= 5 && s.weight >= 1 && s.weight <= 1000])
    error_message = "priority is 1 to 5, weight 1 to 1000."
  }
}

variable "probe_interval_seconds" {
  description = "30 moves traffic after 62 s, 5 after 12 s, at six times the probes."
  type        = number
  default     = 30
  validation {
    condition     = var.probe_interval_seconds >= 1 && var.probe_interval_seconds <= 255
    error_message = "Front Door probes every 1 to 255 seconds."
  }
}

variable "log_analytics_workspace_id" {
  description = "For access, probe and WAF logs."
  type        = string
}

variable "rate_limit_per_minute" {
  description = "Calls a minute from one client address before the WAF blocks it."
  type        = number
  default     = 6000
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

resource "azurerm_cdn_frontdoor_endpoint" "this" {
  name                     = var.name
  cdn_frontdoor_profile_id = var.profile.id
  tags                     = var.tags

  lifecycle {
    precondition {
      condition     = !var.boundary.strict
      error_message = "Strict residency chooses Traffic Manager: Front Door ends TLS at the edge location nearest to the client, anywhere on earth."
    }
  }
}

resource "azurerm_cdn_frontdoor_origin_group" "stamps" {
  name                                                      = "stamps"
  cdn_frontdoor_profile_id                                  = var.profile.id
  session_affinity_enabled                                  = false
  restore_traffic_time_to_healed_or_new_endpoint_in_minutes = 10
  # A single origin is used whatever its probes say: they would only cost.
  dynamic "health_probe" {
    for_each = length(var.stamps) > 1 ? [1] : []
    content {
      protocol            = "Https"
      path                = "/health/stamp"
      request_type        = "HEAD"
      interval_in_seconds = var.probe_interval_seconds
    }
  }
  load_balancing {
    sample_size                        = 4
    successful_samples_required        = 3
    additional_latency_in_milliseconds = 50
  }
}

resource "azurerm_cdn_frontdoor_origin" "stamp" {
  for_each                       = var.stamps
  name                           = each.key
  cdn_frontdoor_origin_group_id  = azurerm_cdn_frontdoor_origin_group.stamps.id
  host_name                      = var.host_name
  origin_host_header             = var.host_name
  certificate_name_check_enabled = true
  https_port                     = 443
  priority                       = each.value.priority
  weight                         = each.value.weight
  private_link {
    private_link_target_id = each.value.private_link_service_id
    location               = each.value.location
    request_message        = "stampgate ${var.name}"
  }
}

resource "azurerm_cdn_frontdoor_custom_domain" "this" {
  name                     = replace(var.host_name, ".", "-")
  cdn_frontdoor_profile_id = var.profile.id
  host_name                = var.host_name
  dns_zone_id              = var.dns_zone_id
  tls {
    certificate_type = "ManagedCertificate"
    minimum_version  = "TLS12"
  }
}

resource "azurerm_cdn_frontdoor_route" "this" {
  name                            = "openai"
  cdn_frontdoor_endpoint_id       = azurerm_cdn_frontdoor_endpoint.this.id
  cdn_frontdoor_origin_group_id   = azurerm_cdn_frontdoor_origin_group.stamps.id
  cdn_frontdoor_origin_ids        = [for o in azurerm_cdn_frontdoor_origin.stamp : o.id]
  cdn_frontdoor_custom_domain_ids = [azurerm_cdn_frontdoor_custom_domain.this.id]
  patterns_to_match               = ["/openai/*"]
  supported_protocols             = ["Https"]
  forwarding_protocol             = "HttpsOnly"
  https_redirect_enabled          = false
  link_to_default_domain          = false
}

# Prompts are not inspected: rules made for web forms take code and SQL in them
# for attacks, and their match logs would copy what people wrote.
resource "azurerm_cdn_frontdoor_firewall_policy" "this" {
  name                       = replace("waf${var.name}", "-", "")
  resource_group_name        = var.resource_group_name
  sku_name                   = var.profile.sku_name
  mode                       = "Prevention"
  enabled                    = true
  request_body_check_enabled = false
  custom_rule {
    name     = "OnlyOpenAIPaths"
    type     = "MatchRule"
    action   = "Block"
    priority = 10
    match_condition {
      match_variable     = "RequestUri"
      operator           = "RegEx"
      negation_condition = true
      match_values       = ["^https?://[^/]+(:[0-9]+)?/openai/"]
    }
  }
  custom_rule {
    name                           = "RateLimit"
    type                           = "RateLimitRule"
    action                         = "Block"
    priority                       = 20
    rate_limit_duration_in_minutes = 1
    rate_limit_threshold           = var.rate_limit_per_minute
    match_condition {
      match_variable     = "RequestMethod"
      operator           = "Equal"
      negation_condition = false
      match_values       = ["POST"]
    }
  }
  managed_rule {
    type    = "Microsoft_BotManagerRuleSet"
    version = "1.1"
    action  = "Block"
  }
  tags = var.tags
}

resource "azurerm_cdn_frontdoor_security_policy" "this" {
  name                     = "waf"
  cdn_frontdoor_profile_id = var.profile.id
  security_policies {
    firewall {
      cdn_frontdoor_firewall_policy_id = azurerm_cdn_frontdoor_firewall_policy.this.id
      association {
        patterns_to_match = ["/*"]
        domain {
          cdn_frontdoor_domain_id = azurerm_cdn_frontdoor_endpoint.this.id
        }
        domain {
          cdn_frontdoor_domain_id = azurerm_cdn_frontdoor_custom_domain.this.id
        }
      }
    }
  }
}

resource "azurerm_monitor_diagnostic_setting" "this" {
  name                       = "audit"
  target_resource_id         = var.profile.id
  log_analytics_workspace_id = var.log_analytics_workspace_id
  enabled_log {
    category = "FrontDoorAccessLog"
  }
  enabled_log {
    category = "FrontDoorHealthProbeLog"
  }
  enabled_log {
    category = "FrontDoorWebApplicationFirewallLog"
  }
  enabled_metric {
    category = "AllMetrics"
  }
}

output "endpoint_host_name" {
  description = "Target of the CNAME of the host name."
  value       = azurerm_cdn_frontdoor_endpoint.this.host_name
}

output "validation_token" {
  description = "TXT record _dnsauth of the host name, where Azure DNS does not hold it."
  value       = azurerm_cdn_frontdoor_custom_domain.this.validation_token
}
