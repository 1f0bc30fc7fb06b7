# The boundary's PostgreSQL for usage and journal: in its own subnet, Entra only,
# a standby in another zone. Calls never wait for it.

variable "name" {
  description = "Server name psql-NAME."
  type        = string
}

variable "resource_group_name" {
  description = "The stores' group."
  type        = string
}

variable "location" {
  description = "The Azure region."
  type        = string
}

variable "boundary" {
  description = "The boundary, as every layer gets it."
  type        = object({ locations = set(string) })
}

variable "tenant_id" {
  description = "The Entra tenant."
  type        = string
}

variable "delegated_subnet_id" {
  description = "The database subnet of its region."
  type        = string
}

variable "virtual_network_ids" {
  description = "Networks of the boundary's regions, where its name must resolve."
  type        = map(string)
}

variable "administrators" {
  description = "Entra principals by name. Gateways get a role inside the database, see the runbook on keys."
  type        = map(object({ object_id = string, principal_type = string }))
  validation {
    condition     = length(var.administrators) > 0
    error_message = "Passwords are off: without an Entra administrator nobody could sign in."
  }
  validation {
    condition     = alltrue([for a in values(var.administrators) : contains(["User", "Group", "ServicePrincipal"], a.principal_type)])
    error_message = "principal_type is User, Group or ServicePrincipal."
  }
}

variable "sku_name" {
  description = "Size. Burstable sizes have no standby."
  type        = string
  default     = "GP_Standard_D2ds_v5"
  validation {
    condition     = !startswith(var.sku_name, "B_")
    error_message = "A Burstable server cannot have a standby in another zone."
  }
}

variable "zones" {
  description = "Of the primary and of the standby, at first; after a failover they are swapped."
  type        = object({ primary = optional(string, "1"), standby = optional(string, "2") })
  default     = {}
  validation {
    condition     = var.zones.primary != var.zones.standby
    error_message = "The standby is in another zone than the primary."
  }
}

variable "backup_retention_days" {
  description = "How far back it can be restored. Backups stay in the region."
  type        = number
  default     = 14
  validation {
    condition     = var.backup_retention_days >= 7 && var.backup_retention_days <= 35
    error_message = "Backups are kept for 7 to 35 days."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

resource "azurerm_private_dns_zone" "this" {
  name                = "${var.name}.private.postgres.database.azure.com"
  resource_group_name = var.resource_group_name
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "this" {
  for_each             = var.virtual_network_ids
  name                 = "link-${each.key}"
  private_dns_zone_id  = azurerm_private_dns_zone.this.id
  virtual_network_id   = each.value
  registration_enabled = false
  tags                 = var.tags
}

resource "azurerm_postgresql_flexible_server" "this" {
  name                          = "psql-${var.name}"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  version                       = "17"
  sku_name                      = var.sku_name
  storage_mb                    = 32768
  auto_grow_enabled             = true
  zone                          = var.zones.primary
  delegated_subnet_id           = var.delegated_subnet_id
  private_dns_zone_id           = azurerm_private_dns_zone.this.id
  public_network_access_enabled = false
  backup_retention_days         = var.backup_retention_days
  geo_redundant_backup_enabled  = false # its paired region may lie outside the boundary
  authentication {
    active_directory_auth_enabled = true
    password_auth_enabled         = false
    tenant_id                     = var.tenant_id
  }
  high_availability {
    mode                      = "ZoneRedundant"
    standby_availability_zone = var.zones.standby
  }
  tags = var.tags

  lifecycle {
    ignore_changes = [zone, high_availability[0].standby_availability_zone]
    precondition {
      condition     = contains(var.boundary.locations, var.location)
      error_message = "location is outside the boundary."
    }
  }
  depends_on = [azurerm_private_dns_zone_virtual_network_link.this]
}

# A lock and not prevent_destroy: it also stops a hand, and a test can end.
resource "azurerm_management_lock" "this" {
  name       = "keep"
  scope      = azurerm_postgresql_flexible_server.this.id
  lock_level = "CanNotDelete"
  notes      = "The boundary's ledger. Take the lock away first, on purpose."
}

resource "azurerm_postgresql_flexible_server_active_directory_administrator" "this" {
  for_each            = var.administrators
  server_name         = azurerm_postgresql_flexible_server.this.name
  resource_group_name = var.resource_group_name
  tenant_id           = var.tenant_id
  object_id           = each.value.object_id
  principal_name      = each.key
  principal_type      = each.value.principal_type
}

resource "azurerm_postgresql_flexible_server_database" "this" {
  name      = "stampgate"
  server_id = azurerm_postgresql_flexible_server.this.id
  charset   = "UTF8"
  collation = "en_US.utf8"
}

output "host_name" {
  description = "Where the ledger is reached, inside the boundary's networks."
  value       = "psql-${var.name}.postgres.database.azure.com"
}
