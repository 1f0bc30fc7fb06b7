# Azure Policy for one subscription of a boundary: what these modules build stays
# so, also when somebody changes it by hand. Assigned to the gateways'
# subscription and to the instances'.

variable "name" {
  description = "Used in the names of the assignment and the set."
  type        = string
  validation {
    condition     = length(var.name) <= 21
    error_message = "An assignment's name has 24 characters at most, three of them ours."
  }
}

variable "scope_subscription_id" {
  description = "GUID of the subscription."
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
  validation {
    condition     = length(var.boundary.locations) > 0
    error_message = "A boundary without locations would deny everything."
  }
}

variable "enforce" {
  description = "false only reports: for the first weeks over what exists already."
  type        = bool
  default     = true
}

locals {
  definitions = { for f in fileset("${path.module}/policies", "*.json") : trimsuffix(f, ".json") => jsondecode(file("${path.module}/policies/${f}")).properties }

  # An allow list: a list of what is denied would miss SKUs that come later.
  allowed_skus = concat(
    ["Standard", "ProvisionedManaged"],
    var.boundary.allow_data_zone ? ["DataZoneStandard", "DataZoneProvisionedManaged", "DataZoneBatch"] : [],
    var.boundary.allow_global ? ["GlobalStandard", "GlobalProvisionedManaged", "GlobalBatch"] : [],
  )
  parameters = {
    deny-openai-deployment-skus = { allowedSkus = { value = local.allowed_skus } }
    deny-location               = { allowedLocations = { value = sort(var.boundary.locations) } }
  }
}

resource "azurerm_policy_definition" "this" {
  for_each     = local.definitions
  name         = "stampgate-${var.name}-${each.key}"
  display_name = each.value.displayName
  description  = each.value.description
  policy_type  = "Custom"
  mode         = each.value.mode
  metadata     = jsonencode(each.value.metadata)
  parameters   = jsonencode(each.value.parameters)
  policy_rule  = jsonencode(each.value.policyRule)
}

resource "azurerm_policy_set_definition" "this" {
  name         = "stampgate-${var.name}"
  display_name = "Stampgate guardrails (${var.boundary.name})"
  policy_type  = "Custom"
  dynamic "policy_definition_reference" {
    for_each = local.definitions
    content {
      policy_definition_id = azurerm_policy_definition.this[policy_definition_reference.key].id
      reference_id         = policy_definition_reference.key
      parameter_values     = try(jsonencode(local.parameters[policy_definition_reference.key]), null)
    }
  }
}

resource "azurerm_subscription_policy_assignment" "this" {
  name                 = "sg-${var.name}"
  subscription_id      = "/subscriptions/${var.scope_subscription_id}"
  policy_definition_id = azurerm_policy_set_definition.this.id
  enforce              = var.enforce
  dynamic "non_compliance_message" {
    for_each = local.definitions
    content {
      content                        = "Boundary ${var.boundary.name}: ${non_compliance_message.value.displayName}"
      policy_definition_reference_id = non_compliance_message.key
    }
  }
}

output "allowed_skus" {
  description = "The deployment SKUs that the boundary allows."
  value       = local.allowed_skus
}

output "assignment_id" {
  description = "For exemptions, such as an emergency exit's."
  value       = azurerm_subscription_policy_assignment.this.id
}
