# The gateways of one region: a scale set over zones, a balancer, private
# endpoints to every instance of the boundary.

locals {
  public = var.edge == "traffic-manager"
  port   = 8443

  # A gateway's own configuration. Nothing in it is secret: the files it names are
  # fetched from the vault by the machine itself, with its identity.
  gateway = {
    boundary = var.boundary.name
    region   = var.location
    listen   = "0.0.0.0:${local.port}"
    tls      = { certFile = "/etc/stampgate/secrets/tls.crt", keyFile = "/etc/stampgate/secrets/tls.key" }
    admin    = { listen = "127.0.0.1:9443", tokenFile = "/etc/stampgate/secrets/admin.token" }
    residency = {
      countries               = sort(var.boundary.countries)
      processing              = var.boundary.allow_global ? "at-rest" : "in-boundary"
      regionalProcessing      = var.boundary.regional_processing
      requirePrivateAddresses = true
    }
    policy = {
      etcd = {
        endpoints = var.etcd_endpoints
        caFile    = "/etc/stampgate/secrets/etcd-ca.crt"
        certFile  = "/etc/stampgate/secrets/etcd.crt"
        keyFile   = "/etc/stampgate/secrets/etcd.key"
      }
      trustedKeys = var.policy_keys
      cacheDir    = "/var/lib/stampgate"
    }
    gossip = {
      listen  = "0.0.0.0:7946"
      join    = [for host in range(4, pow(2, 32 - tonumber(split("/", var.gateway_cidr)[1])) - 1) : "${cidrhost(var.gateway_cidr, host)}:7946"]
      keyFile = "/etc/stampgate/secrets/gossip.keys"
    }
    frontDoor = { ids = var.front_door_ids }
    # Over Private Link all clients, and Front Door's probes, have one address: it
    # may have every connection that a gateway takes by default.
    limits = { for name, n in { connectionsPerSource = 16384 } : name => n if !local.public }
    drain  = { notice = "${var.drain_seconds.notice}s", timeout = "${var.drain_seconds.timeout}s" }
  }

  cloud_init = join("\n", ["#cloud-config", yamlencode({
    write_files = concat([
      { path = "/etc/stampgate/gateway.yaml", permissions = "0644", content = yamlencode(local.gateway) },
      { path = "/etc/stampgate/azure.env", permissions = "0644", content = "STAMPGATE_VAULT=${var.key_vault_uri}\nSTAMPGATE_IDENTITY=${var.identity.client_id}\nSTAMPGATE_SECRETS=\"tls-crt tls-key admin-token gossip-keys etcd-ca-crt etcd-crt etcd-key\"\n" },
      # Longer than the drain, so that systemd never cuts a stream that may still end.
      { path = "/etc/systemd/system/stampgate.service.d/drain.conf", permissions = "0644", content = "[Service]\nTimeoutStopSec=${var.drain_seconds.notice + var.drain_seconds.timeout + 30}s\n" },
      ], var.metrics_ingestion_url == "" ? [] : [
      { path = "/etc/stampgate/prometheus.yaml", permissions = "0644", content = yamlencode({
        global         = { scrape_interval = "30s", external_labels = { boundary = var.boundary.name, region = var.location } }
        scrape_configs = [{ job_name = "stampgate", authorization = { credentials_file = "/etc/stampgate/secrets/admin.token" }, static_configs = [{ targets = ["127.0.0.1:9443"], labels = { instance = "HOSTNAME" } }] }]
        remote_write   = [{ url = var.metrics_ingestion_url, azuread = { cloud = "AzurePublic", managed_identity = { client_id = var.identity.client_id } } }]
      }) },
    ])
    runcmd = concat(var.metrics_ingestion_url == "" ? [] : [
      # Every gateway scrapes itself at one address: its name tells its series apart.
      ["sh", "-c", "sed -i \"s/HOSTNAME/$(hostname)/\" /etc/stampgate/prometheus.yaml"],
      ], [
      ["systemctl", "daemon-reload"],
      concat(["systemctl", "enable", "--now", "stampgate-secrets.service", "stampgate-secrets.timer", "stampgate.service", "stampgate-goodbye.service"],
      var.metrics_ingestion_url == "" ? [] : ["stampgate-metrics.service"]),
    ])
  })])
}

resource "azurerm_public_ip" "edge" {
  count               = local.public ? 1 : 0
  name                = "pip-${var.name}-edge"
  resource_group_name = var.resource_group_name
  location            = var.location
  allocation_method   = "Static"
  sku                 = "Standard"
  zones               = var.zones
  domain_name_label   = var.dns_label
  tags                = var.tags
}

resource "azurerm_lb" "this" {
  name                = "lb-${var.name}"
  resource_group_name = var.resource_group_name
  location            = var.location
  sku                 = "Standard"
  frontend_ip_configuration {
    name                          = "gateway"
    subnet_id                     = local.public ? null : var.subnet_ids.gateway
    private_ip_address_allocation = local.public ? null : "Dynamic"
    public_ip_address_id          = local.public ? azurerm_public_ip.edge[0].id : null
    zones                         = local.public ? null : var.zones
  }
  tags = var.tags
}

resource "azurerm_lb_backend_address_pool" "this" {
  name            = "gateway"
  loadbalancer_id = azurerm_lb.this.id
}

resource "azurerm_lb_probe" "ready" {
  name                = "ready"
  loadbalancer_id     = azurerm_lb.this.id
  protocol            = "Https"
  port                = local.port
  request_path        = "/health/ready"
  interval_in_seconds = 5
  probe_threshold     = 2
}

resource "azurerm_lb_rule" "https" {
  name                           = "https"
  loadbalancer_id                = azurerm_lb.this.id
  protocol                       = "Tcp"
  frontend_port                  = 443
  backend_port                   = local.port
  frontend_ip_configuration_name = "gateway"
  backend_address_pool_ids       = [azurerm_lb_backend_address_pool.this.id]
  probe_id                       = azurerm_lb_probe.ready.id
  idle_timeout_in_minutes        = 30 # a stream may think for long
  tcp_reset_enabled              = true
  disable_outbound_snat          = true # the way out is the NAT gateway's
}

resource "azurerm_private_link_service" "this" {
  count                                       = local.public ? 0 : 1
  name                                        = "pls-${var.name}"
  resource_group_name                         = var.resource_group_name
  location                                    = var.location
  load_balancer_frontend_ip_configuration_ids = [azurerm_lb.this.frontend_ip_configuration[0].id]
  proxy_protocol_enabled                      = false # health probes would carry it too
  nat_ip_configuration {
    name      = "primary"
    primary   = true
    subnet_id = var.subnet_ids.pls
  }
  tags = var.tags
}

resource "azurerm_private_endpoint" "openai" {
  for_each                      = var.openai_accounts
  name                          = "pe-${var.name}-${each.key}"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  subnet_id                     = var.subnet_ids.endpoint
  custom_network_interface_name = "nic-pe-${var.name}-${each.key}"
  private_service_connection {
    name                           = "psc-${each.key}"
    private_connection_resource_id = each.value.id
    subresource_names              = ["account"]
    is_manual_connection           = false
  }
  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [var.private_dns_zone_id]
  }
  tags = var.tags

  lifecycle {
    precondition {
      condition     = each.value.tenant_id == var.tenant_id
      error_message = "${each.key} is in another Entra tenant: the stamp's identity would get no role there, and its private endpoint no approval."
    }
    precondition {
      condition     = split("/", each.value.id)[2] != var.subscription_id
      error_message = "${each.key} is in the gateways' own subscription: instances have one apart, so that quota, roles and a mistake there stay there."
    }
    precondition {
      condition     = contains(var.boundary.locations, each.value.location)
      error_message = "${each.key} is outside the boundary."
    }
  }
}

resource "azurerm_orchestrated_virtual_machine_scale_set" "this" {
  name                        = "vmss-${var.name}"
  resource_group_name         = var.resource_group_name
  location                    = var.location
  platform_fault_domain_count = 1
  zones                       = var.zones
  zone_balance                = false # a zone that is out must not stop a replacement
  sku_name                    = var.vm_size
  instances                   = var.instances
  source_image_id             = var.image_id
  encryption_at_host_enabled  = true
  upgrade_mode                = "Rolling"
  rolling_upgrade_policy {
    max_batch_instance_percent              = 34
    max_unhealthy_instance_percent          = 34
    max_unhealthy_upgraded_instance_percent = 20
    pause_time_between_batches              = "PT2M"
    cross_zone_upgrades_enabled             = false
    maximum_surge_instances_enabled         = true
    prioritize_unhealthy_instances_enabled  = true
  }
  automatic_instance_repair {
    enabled      = true
    action       = "Replace"
    grace_period = "PT10M"
  }
  termination_notification {
    enabled = true
    timeout = "PT15M" # longer than any drain, see drain_seconds
  }
  os_profile {
    custom_data = base64encode(local.cloud_init)
    linux_configuration {
      admin_username                  = "stampops"
      computer_name_prefix            = "sg${var.name}-"
      disable_password_authentication = true
      provision_vm_agent              = true
      patch_mode                      = "ImageDefault" # a new image is a new version
      admin_ssh_key {
        username   = "stampops"
        public_key = var.admin_ssh_public_key
      }
    }
  }
  os_disk {
    caching              = "ReadOnly"
    storage_account_type = "StandardSSD_LRS"
    disk_size_gb         = 32
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [var.identity.id]
  }
  network_interface {
    name                           = "nic"
    primary                        = true
    accelerated_networking_enabled = true
    ip_configuration {
      name                                   = "ipconfig"
      primary                                = true
      subnet_id                              = var.subnet_ids.gateway
      load_balancer_backend_address_pool_ids = [azurerm_lb_backend_address_pool.this.id]
    }
  }
  # Healthy as long as the process runs, also when it drains or has no policy:
  # otherwise an outage of Azure OpenAI would make Azure replace every machine.
  extension {
    name                               = "health"
    publisher                          = "Microsoft.ManagedServices"
    type                               = "ApplicationHealthLinux"
    type_handler_version               = "2.0"
    auto_upgrade_minor_version_enabled = true
    settings = jsonencode({
      protocol          = "https"
      port              = local.port
      requestPath       = "/health/vm"
      intervalInSeconds = 5
      numberOfProbes    = 3
      gracePeriod       = 120
    })
  }
  # Sends what journald hands to syslog to the boundary's workspace.
  extension {
    name                               = "logs"
    publisher                          = "Microsoft.Azure.Monitor"
    type                               = "AzureMonitorLinuxAgent"
    type_handler_version               = "1.33"
    auto_upgrade_minor_version_enabled = true
    settings = jsonencode({
      authentication = { managedIdentity = { identifier-name = "mi_res_id", identifier-value = var.identity.id } }
    })
  }
  boot_diagnostics {}
  tags       = var.tags
  depends_on = [azurerm_lb_rule.https]

  lifecycle {
    precondition {
      condition     = contains(var.boundary.locations, var.location)
      error_message = "location is outside the boundary."
    }
    precondition {
      condition     = !(var.boundary.strict && var.edge == "front-door")
      error_message = "Strict residency chooses Traffic Manager: Front Door ends TLS at the edge location nearest to the client, anywhere on earth."
    }
    precondition {
      condition     = anytrue([for a in values(var.openai_accounts) : a.location == var.location])
      error_message = "No instance is in this region: gateways stand where their instances are, and fall back to others."
    }
  }
}

resource "azurerm_monitor_data_collection_rule_association" "logs" {
  name                    = "logs"
  target_resource_id      = azurerm_orchestrated_virtual_machine_scale_set.this.id
  data_collection_rule_id = var.logs_rule_id
}
