# The gateways of one region. Applied once for each region, one after the other:
# a new image goes to one region and is watched before the next gets it.

locals {
  region = var.layout[var.location]
  own    = var.regions[var.location]
}

module "stamp" {
  source                = "../../../modules/stamp"
  name                  = local.region.short
  boundary              = var.boundary
  tenant_id             = var.tenant_id
  subscription_id       = var.subscription_id
  resource_group_name   = local.own.resource_group_name
  location              = var.location
  zones                 = local.region.zones
  instances             = local.region.instances
  image_id              = var.image_id
  admin_ssh_public_key  = var.admin_ssh_public_key
  identity              = local.own.identity
  subnet_ids            = local.own.subnet_ids
  gateway_cidr          = local.own.cidrs["gateway"]
  private_dns_zone_id   = local.own.private_dns_zone_ids["privatelink.openai.azure.com"]
  openai_accounts       = var.instance_accounts
  edge                  = var.edge
  front_door_ids        = var.edge == "front-door" ? [var.front_door_profile.resource_guid] : []
  dns_label             = var.edge == "traffic-manager" ? "${var.name}-${local.region.short}" : null
  etcd_endpoints        = var.etcd_endpoints
  policy_keys           = var.policy_keys
  key_vault_uri         = local.own.key_vault_uri
  metrics_ingestion_url = var.metrics_ingestion_url
  logs_rule_id          = var.logs_rule_id
  tags                  = { workload = "stampgate", boundary = var.boundary.name, region = var.location }
}
