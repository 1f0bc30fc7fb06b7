# The key vault of one region, or of the boundary's stores: private, by roles
# only. Its secrets are put in by operators and never by Terraform, whose state
# would then hold them.

variable "name" {
  description = "Name of the vault, 3 to 24 letters, digits and hyphens."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name))
    error_message = "A vault's name is 3 to 24 lower-case letters, digits and hyphens."
  }
}

variable "resource_group_name" {
  description = "Where it lives."
  type        = string
}

variable "location" {
  description = "The Azure region."
  type        = string
}

variable "tenant_id" {
  description = "The Entra tenant."
  type        = string
}

variable "subnet_id" {
  description = "The platform subnet."
  type        = string
}

variable "private_dns_zone_id" {
  description = "The region's zone privatelink.vaultcore.azure.net."
  type        = string
}

variable "reader_principal_id" {
  description = "The identity that reads the secrets at start, and may do nothing else."
  type        = string
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

resource "azurerm_key_vault" "this" {
  name                          = var.name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  tenant_id                     = var.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  public_network_access_enabled = false
  purge_protection_enabled      = true
  network_acls {
    bypass         = "None"
    default_action = "Deny"
  }
  tags = var.tags
}

resource "azurerm_role_assignment" "reader" {
  scope                = azurerm_key_vault.this.id
  role_definition_name = "Key Vault Secrets User"
  principal_id         = var.reader_principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_private_endpoint" "this" {
  name                          = "pe-${var.name}"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  subnet_id                     = var.subnet_id
  custom_network_interface_name = "nic-pe-${var.name}"
  private_service_connection {
    name                           = "vault"
    private_connection_resource_id = azurerm_key_vault.this.id
    subresource_names              = ["vault"]
    is_manual_connection           = false
  }
  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [var.private_dns_zone_id]
  }
  tags = var.tags
}

output "uri" {
  description = "Where the secrets are fetched."
  value       = "https://${var.name}.vault.azure.net/"
}
