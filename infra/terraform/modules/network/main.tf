# The network of one region of a boundary: subnets, who may talk to whom, names.
# Everything is denied that the table below does not allow, in both directions.

locals {
  # Each /24 is cut alike, so that a region can compute the subnets of the others.
  cut = { for region, space in var.boundary_address_spaces : region => {
    gateway  = cidrsubnet(space, 4, 0) # 11 usable addresses: 3 to 8 gateways, surge, the balancer's
    pls      = cidrsubnet(space, 4, 1) # Private Link Service of the balancer
    policy   = cidrsubnet(space, 4, 2) # etcd and control plane
    database = cidrsubnet(space, 4, 3) # delegated to PostgreSQL
    platform = cidrsubnet(space, 4, 4) # private endpoints of the key vault, the snapshots and Grafana
    endpoint = cidrsubnet(space, 3, 3) # private endpoints of the instances, and nothing else
  } }
  cidr = one([for region, space in var.boundary_address_spaces : local.cut[region] if space == var.address_space])

  gateways  = sort([for c in values(local.cut) : c.gateway])
  policies  = sort([for c in values(local.cut) : c.policy])
  databases = sort([for c in values(local.cut) : c.database])

  # What comes to the gateways from in front.
  edge = var.edge == "front-door" ? {
    in-private-link = { priority = 100, sources = [local.cidr.pls] }
    } : {
    in-clients = { priority = 100, sources = var.client_cidrs }
    in-probers = { priority = 101, sources = ["AzureTrafficManager"] }
  }

  # subnet / name => rule. `sources` and `destinations` hold CIDRs, or one service tag.
  rules = merge(
    { for name, r in local.edge : "gateway/${name}" => { direction = "Inbound", priority = r.priority, protocol = "Tcp",
    sources = r.sources, destinations = [local.cidr.gateway], port = var.ports.gateway } },
    {
      "gateway/in-probe" = { direction = "Inbound", priority = 110, protocol = "Tcp",
      sources = ["AzureLoadBalancer"], destinations = [local.cidr.gateway], port = var.ports.gateway }
      "gateway/in-gossip-tcp" = { direction = "Inbound", priority = 120, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = [local.cidr.gateway], port = var.ports.gossip }
      "gateway/in-gossip-udp" = { direction = "Inbound", priority = 121, protocol = "Udp",
      sources = [local.cidr.gateway], destinations = [local.cidr.gateway], port = var.ports.gossip }
      "gateway/out-instances" = { direction = "Outbound", priority = 100, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = [local.cidr.endpoint], port = 443 }
      "gateway/out-platform" = { direction = "Outbound", priority = 110, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = [local.cidr.platform], port = 443 }
      "gateway/out-gossip-tcp" = { direction = "Outbound", priority = 120, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = [local.cidr.gateway], port = var.ports.gossip }
      "gateway/out-gossip-udp" = { direction = "Outbound", priority = 121, protocol = "Udp",
      sources = [local.cidr.gateway], destinations = [local.cidr.gateway], port = var.ports.gossip }
      "gateway/out-etcd" = { direction = "Outbound", priority = 130, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = local.policies, port = var.ports.etcd }
      "gateway/out-ledger" = { direction = "Outbound", priority = 131, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = local.databases, port = var.ports.database }
      "gateway/out-entra" = { direction = "Outbound", priority = 140, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = ["AzureActiveDirectory"], port = 443 }
      "gateway/out-monitor" = { direction = "Outbound", priority = 150, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = ["AzureMonitor"], port = 443 }

      # The rule that the boundary stands on: only gateways reach the instances.
      "endpoint/in-gateways" = { direction = "Inbound", priority = 100, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = [local.cidr.endpoint], port = 443 }

      "platform/in-gateways" = { direction = "Inbound", priority = 100, protocol = "Tcp",
      sources = [local.cidr.gateway], destinations = [local.cidr.platform], port = 443 }
      "platform/in-policy" = { direction = "Inbound", priority = 110, protocol = "Tcp",
      sources = [local.cidr.policy], destinations = [local.cidr.platform], port = 443 }

      "policy/in-etcd" = { direction = "Inbound", priority = 100, protocol = "Tcp",
      sources = concat(local.gateways, local.policies), destinations = [local.cidr.policy], port = var.ports.etcd }
      "policy/in-etcd-peers" = { direction = "Inbound", priority = 110, protocol = "Tcp",
      sources = local.policies, destinations = [local.cidr.policy], port = var.ports.etcd_peer }
      "policy/out-etcd" = { direction = "Outbound", priority = 100, protocol = "Tcp",
      sources = [local.cidr.policy], destinations = local.policies, port = var.ports.etcd }
      "policy/out-etcd-peers" = { direction = "Outbound", priority = 110, protocol = "Tcp",
      sources = [local.cidr.policy], destinations = local.policies, port = var.ports.etcd_peer }
      "policy/out-ledger" = { direction = "Outbound", priority = 120, protocol = "Tcp",
      sources = [local.cidr.policy], destinations = local.databases, port = var.ports.database }
      "policy/out-platform" = { direction = "Outbound", priority = 130, protocol = "Tcp",
      sources = [local.cidr.policy], destinations = [local.cidr.platform], port = 443 }
      "policy/out-entra" = { direction = "Outbound", priority = 140, protocol = "Tcp",
      sources = [local.cidr.policy], destinations = ["AzureActiveDirectory"], port = 443 }
      "policy/out-monitor" = { direction = "Outbound", priority = 150, protocol = "Tcp",
      sources = [local.cidr.policy], destinations = ["AzureMonitor"], port = 443 }

      "database/in-ledger" = { direction = "Inbound", priority = 100, protocol = "Tcp",
      sources = concat(local.gateways, local.policies), destinations = [local.cidr.database], port = var.ports.database }
      # The standby is in the same subnet; PostgreSQL's own replication needs it.
      "database/in-standby" = { direction = "Inbound", priority = 110, protocol = "Tcp",
      sources = [local.cidr.database], destinations = [local.cidr.database], port = var.ports.database }
      "database/out-standby" = { direction = "Outbound", priority = 110, protocol = "Tcp",
      sources = [local.cidr.database], destinations = [local.cidr.database], port = var.ports.database }
      "database/out-backup" = { direction = "Outbound", priority = 120, protocol = "Tcp",
      sources = [local.cidr.database], destinations = ["Storage"], port = 443 }
      "database/out-entra" = { direction = "Outbound", priority = 130, protocol = "Tcp",
      sources = [local.cidr.database], destinations = ["AzureActiveDirectory"], port = 443 }

      "pls/out-gateways" = { direction = "Outbound", priority = 100, protocol = "Tcp",
      sources = [local.cidr.pls], destinations = [local.cidr.gateway], port = var.ports.gateway }
    },
    length(var.operator_cidrs) == 0 ? {} : {
      "policy/in-operators" = { direction = "Inbound", priority = 120, protocol = "Tcp",
      sources = var.operator_cidrs, destinations = [local.cidr.policy], port = var.ports.controlplane }
      "platform/in-operators" = { direction = "Inbound", priority = 120, protocol = "Tcp",
      sources = var.operator_cidrs, destinations = [local.cidr.platform], port = 443 }
    },
    { for name, e in var.emergency_clients : "endpoint/in-emergency-${name}" => { direction = "Inbound",
      priority                                                                              = 200 + index(sort(keys(var.emergency_clients)), name), protocol = "Tcp",
    sources = [e.cidr], destinations = [e.address], port = 443 } },
    # Azure's own default rules would let the whole virtual network in, and everything out.
    { for pair in setproduct(keys(local.subnets), ["Inbound", "Outbound"]) :
      "${pair[0]}/${pair[1] == "Inbound" ? "in" : "out"}-deny-all" => { direction = pair[1], priority = 4096, protocol = "*",
    sources = ["*"], destinations = ["*"], port = "*" } },
  )

  subnets = {
    gateway  = { endpoint_policies = "Disabled", pls_policies = true, delegation = null }
    pls      = { endpoint_policies = "Disabled", pls_policies = false, delegation = null }
    policy   = { endpoint_policies = "Disabled", pls_policies = true, delegation = null }
    database = { endpoint_policies = "Disabled", pls_policies = true, delegation = "Microsoft.DBforPostgreSQL/flexibleServers" }
    # Without Enabled the rules of these two would be ignored, silently.
    platform = { endpoint_policies = "Enabled", pls_policies = true, delegation = null }
    endpoint = { endpoint_policies = "Enabled", pls_policies = true, delegation = null }
  }

  dns_zones = toset([
    "privatelink.openai.azure.com", "privatelink.cognitiveservices.azure.com",
    "privatelink.vaultcore.azure.net", "privatelink.blob.core.windows.net",
    "privatelink.grafana.azure.com",
  ])
}

resource "azurerm_virtual_network" "this" {
  name                = "vnet-${var.name}"
  resource_group_name = var.resource_group_name
  location            = var.location
  address_space       = [var.address_space]
  tags                = var.tags

  lifecycle {
    precondition {
      condition     = contains(var.boundary.locations, var.location)
      error_message = "location is outside the boundary."
    }
    precondition {
      condition     = !(var.boundary.strict && var.edge == "front-door")
      error_message = "Strict residency chooses Traffic Manager: Front Door ends TLS at the edge location nearest to the client, anywhere on earth."
    }
  }
}

resource "azurerm_subnet" "this" {
  for_each                                      = local.subnets
  name                                          = "snet-${each.key}"
  resource_group_name                           = var.resource_group_name
  virtual_network_name                          = azurerm_virtual_network.this.name
  address_prefixes                              = [local.cidr[each.key]]
  default_outbound_access_enabled               = false
  private_endpoint_network_policies             = each.value.endpoint_policies
  private_link_service_network_policies_enabled = each.value.pls_policies

  dynamic "delegation" {
    for_each = each.value.delegation == null ? [] : [each.value.delegation]
    content {
      name = "delegation"
      service_delegation {
        name    = delegation.value
        actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
      }
    }
  }
}

resource "azurerm_network_security_group" "this" {
  for_each            = local.subnets
  name                = "nsg-${var.name}-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_subnet_network_security_group_association" "this" {
  for_each                  = local.subnets
  subnet_id                 = azurerm_subnet.this[each.key].id
  network_security_group_id = azurerm_network_security_group.this[each.key].id
}

resource "azurerm_network_security_rule" "this" {
  for_each                     = local.rules
  name                         = split("/", each.key)[1]
  resource_group_name          = var.resource_group_name
  network_security_group_name  = azurerm_network_security_group.this[split("/", each.key)[0]].name
  priority                     = each.value.priority
  direction                    = each.value.direction
  access                       = endswith(each.key, "-deny-all") ? "Deny" : "Allow"
  protocol                     = each.value.protocol
  source_port_range            = "*"
  source_address_prefix        = length(each.value.sources) == 1 ? each.value.sources[0] : null
  source_address_prefixes      = length(each.value.sources) == 1 ? null : each.value.sources
  destination_address_prefix   = length(each.value.destinations) == 1 ? each.value.destinations[0] : null
  destination_address_prefixes = length(each.value.destinations) == 1 ? null : each.value.destinations
  destination_port_range       = tostring(each.value.port)
}

# The way out, for Entra and Azure Monitor only: the rules above allow no other.
resource "azurerm_public_ip" "nat" {
  name                = "pip-${var.name}-nat"
  resource_group_name = var.resource_group_name
  location            = var.location
  allocation_method   = "Static"
  sku                 = "StandardV2"
  tags                = var.tags
}

resource "azurerm_nat_gateway" "this" {
  name                = "ng-${var.name}"
  resource_group_name = var.resource_group_name
  location            = var.location
  sku_name            = "StandardV2" # over all zones by itself
  tags                = var.tags
}

resource "azurerm_nat_gateway_public_ip_association" "this" {
  nat_gateway_id       = azurerm_nat_gateway.this.id
  public_ip_address_id = azurerm_public_ip.nat.id
}

resource "azurerm_subnet_nat_gateway_association" "this" {
  for_each       = toset(["gateway", "policy"])
  subnet_id      = azurerm_subnet.this[each.key].id
  nat_gateway_id = azurerm_nat_gateway.this.id
}

# Each region has its own copies of the zones: two private endpoints of one
# account would overwrite each other's record in a shared one, and a lost region
# must not take the names of another with it.
resource "azurerm_private_dns_zone" "this" {
  for_each            = local.dns_zones
  name                = each.value
  resource_group_name = var.resource_group_name
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "this" {
  for_each             = local.dns_zones
  name                 = "link-${var.name}"
  private_dns_zone_id  = azurerm_private_dns_zone.this[each.key].id
  virtual_network_id   = azurerm_virtual_network.this.id
  registration_enabled = false
  tags                 = var.tags
}
