# What is in front of the boundary, and of no other.

locals {
  tags = { workload = "stampgate", boundary = var.boundary.name }
}

module "front_door" {
  source              = "../../../modules/front-door"
  count               = var.edge == "front-door" ? 1 : 0
  name                = var.name
  resource_group_name = var.boundary_resource_group_name
  boundary            = var.boundary
  profile             = var.front_door_profile
  host_name           = var.host_name
  dns_zone_id         = var.dns_zone_id
  stamps = { for region, s in var.stamps : region => {
    private_link_service_id = s.private_link_service_id
    location                = region
    weight                  = var.layout[region].weight
  } }
  log_analytics_workspace_id = var.log_analytics_workspace_id
  tags                       = local.tags
}

module "traffic_manager" {
  source              = "../../../modules/traffic-manager"
  count               = var.edge == "traffic-manager" ? 1 : 0
  name                = var.name
  resource_group_name = var.boundary_resource_group_name
  boundary            = var.boundary
  host_name           = var.host_name
  stamps = { for region, s in var.stamps : region => {
    target   = s.public_host_name
    location = region
    weight   = var.layout[region].weight
  } }
  tags = local.tags
}
