terraform {
  required_version = ">= 1.11"
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.2"
    }
  }
  # Layers 20 and 50 have one state for each region, the others one each. Where it
  # is kept, inside the boundary, is given to init (see ../../layer).
  backend "azurerm" {}
}

provider "azurerm" {
  subscription_id                = var.instances_subscription_id
  tenant_id                      = var.tenant_id
  storage_use_azuread            = true
  resource_providers_to_register = []
  features {
    cognitive_account {
      purge_soft_delete_on_destroy = false
    }
    key_vault {
      purge_soft_delete_on_destroy = false
    }
    resource_group {
      prevent_deletion_if_contains_resources = true
    }
  }
}
