# The boundary's etcd on zonal machines, with a control plane on each. Individual
# machines and not a scale set: members have fixed names, addresses and disks.

variable "name" {
  description = "Used in the names of everything."
  type        = string
}

variable "boundary" {
  description = "The boundary, as every layer gets it."
  type        = object({ name = string, locations = set(string) })
}

variable "members" {
  description = "Members of etcd by name. Three over the zones of one region; five as 2 + 2 + 1 over three regions survive a region's loss."
  type = map(object({
    resource_group_name = string
    location            = string
    zone                = string
    subnet_id           = string
    private_ip_address  = string
  }))
  validation {
    condition     = contains([3, 5], length(var.members))
    error_message = "etcd has 3 or 5 members: an even number survives no more than one fewer, and seven vote too slowly."
  }
  validation {
    condition     = length(distinct([for m in values(var.members) : "${m.location}/${m.zone}"])) == length(var.members)
    error_message = "Two members share a zone, and would be lost together."
  }
  validation {
    condition     = length(distinct([for m in values(var.members) : m.private_ip_address])) == length(var.members)
    error_message = "Two members have the same address."
  }
  validation {
    condition     = alltrue([for m in values(var.members) : contains(var.boundary.locations, m.location)])
    error_message = "Every member stands inside the boundary."
  }
}

variable "image_id" {
  description = "Gallery image version with etcd and the release installed."
  type        = string
  validation {
    condition     = can(regex("/versions/[0-9]+\\.[0-9]+\\.[0-9]+$", var.image_id))
    error_message = "image_id names one version of a gallery image."
  }
}

variable "vm_size" {
  description = "Size of the machines."
  type        = string
  default     = "Standard_D2as_v5"
}

variable "identity" {
  description = "The stores' user-assigned identity."
  type        = object({ id = string, client_id = string, principal_id = string })
}

variable "key_vault_uri" {
  description = "The stores' vault: certificates of etcd, the signing key, the control plane's token."
  type        = string
}

variable "trusted_policy_keys" {
  description = "Public keys that signed policies before the present signing key, while a new one takes over."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for k in var.trusted_policy_keys : startswith(k, "ed25519:")])
    error_message = "trusted_policy_keys holds ed25519:… keys."
  }
}

variable "snapshots" {
  description = "Where snapshots go: a storage account in the boundary, private like the rest."
  type = object({
    account_name        = string
    resource_group_name = string
    location            = string
    subnet_id           = string
    private_dns_zone_id = string
  })
  validation {
    condition     = contains(var.boundary.locations, var.snapshots.location)
    error_message = "Snapshots hold the whole policy: they stay inside the boundary."
  }
  validation {
    condition     = can(regex("^[a-z0-9]{3,24}$", var.snapshots.account_name))
    error_message = "A storage account's name is 3 to 24 lower-case letters and digits."
  }
}

variable "admin_ssh_public_key" {
  description = "Azure demands one. No rule of the network lets SSH in."
  type        = string
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}

locals {
  endpoints       = [for name in sort(keys(var.members)) : "https://${var.members[name].private_ip_address}:2379"]
  initial_cluster = join(",", [for name in sort(keys(var.members)) : "${name}=https://${var.members[name].private_ip_address}:2380"])
  several_regions = length(distinct([for m in values(var.members) : m.location])) > 1
  secrets         = "/etc/stampgate/secrets"

  etcd = { for name, m in var.members : name => {
    name                        = name
    data-dir                    = "/var/lib/etcd/data"
    listen-client-urls          = "https://${m.private_ip_address}:2379"
    advertise-client-urls       = "https://${m.private_ip_address}:2379"
    listen-peer-urls            = "https://${m.private_ip_address}:2380"
    initial-advertise-peer-urls = "https://${m.private_ip_address}:2380"
    initial-cluster             = local.initial_cluster
    initial-cluster-token       = var.boundary.name
    initial-cluster-state       = "new"
    # Between regions a heartbeat takes tens of milliseconds; an election waits
    # for at least ten of them, or a slow minute would look like a lost leader.
    heartbeat-interval        = local.several_regions ? 300 : 100
    election-timeout          = local.several_regions ? 3000 : 1000
    auto-compaction-mode      = "periodic"
    auto-compaction-retention = "72h"
    client-transport-security = { cert-file = "${local.secrets}/etcd.crt", key-file = "${local.secrets}/etcd.key", trusted-ca-file = "${local.secrets}/etcd-ca.crt", client-cert-auth = true }
    peer-transport-security   = { cert-file = "${local.secrets}/etcd.crt", key-file = "${local.secrets}/etcd.key", trusted-ca-file = "${local.secrets}/etcd-ca.crt", client-cert-auth = true }
  } }

  # Stateless: each machine runs one, and any of them will do.
  controlplane = {
    listen         = "0.0.0.0:8444"
    tls            = { certFile = "${local.secrets}/tls.crt", keyFile = "${local.secrets}/tls.key" }
    tokenFile      = "${local.secrets}/admin.token"
    signingKeyFile = "${local.secrets}/signing.key"
    trustedKeys    = var.trusted_policy_keys
    boundaries = { (var.boundary.name) = { etcd = {
      endpoints = local.endpoints
      caFile    = "${local.secrets}/etcd-ca.crt"
      certFile  = "${local.secrets}/etcd.crt"
      keyFile   = "${local.secrets}/etcd.key"
    } } }
  }

  cloud_init = { for name, m in var.members : name => join("\n", ["#cloud-config", yamlencode({
    mounts = [["LABEL=etcd", "/var/lib/etcd", "ext4", "defaults,nofail,x-systemd.device-timeout=30", "0", "2"]]
    write_files = [
      { path = "/etc/etcd/etcd.yaml", permissions = "0644", content = yamlencode(local.etcd[name]) },
      { path = "/etc/stampgate/controlplane.yaml", permissions = "0644", content = yamlencode(local.controlplane) },
      { path = "/etc/stampgate/azure.env", permissions = "0644", content = "STAMPGATE_VAULT=${var.key_vault_uri}\nSTAMPGATE_IDENTITY=${var.identity.client_id}\nSTAMPGATE_SECRETS=\"tls-crt tls-key admin-token signing-key etcd-ca-crt etcd-crt etcd-key\"\nSTAMPGATE_SNAPSHOTS=https://${var.snapshots.account_name}.blob.core.windows.net/etcd\nSTAMPGATE_ETCD=https://${m.private_ip_address}:2379\n" },
    ]
    runcmd = [
      # The disk is attached after the machine exists, so cloud-init's own disk_setup,
      # which looks once and early, would miss it. Only where blkid finds nothing at
      # all (2) is a file system made: a new machine takes over the old one's data.
      ["sh", "-c", join("; ", [
        "d=/dev/disk/azure/scsi1/lun10",
        "until [ -b $d ]; do sleep 2; done",
        "udevadm settle",
        "blkid -p $d",
        "[ $? -ne 2 ] || mkfs.ext4 -q -L etcd $d",
        "udevadm settle",
        "systemctl daemon-reload",
        "mountpoint -q /var/lib/etcd || mount /var/lib/etcd",
      ])],
      ["systemctl", "enable", "--now", "stampgate-secrets.service", "stampgate-secrets.timer", "stampgate-etcd.service", "stampgate-controlplane.service", "stampgate-snapshot.timer"],
    ]
  })]) }
}

resource "azurerm_network_interface" "this" {
  for_each                       = var.members
  name                           = "nic-${var.name}-${each.key}"
  resource_group_name            = each.value.resource_group_name
  location                       = each.value.location
  accelerated_networking_enabled = true
  ip_configuration {
    name                          = "ipconfig"
    subnet_id                     = each.value.subnet_id
    private_ip_address_allocation = "Static"
    private_ip_address            = each.value.private_ip_address
  }
  tags = var.tags
}

resource "azurerm_managed_disk" "data" {
  for_each                      = var.members
  name                          = "disk-${var.name}-${each.key}"
  resource_group_name           = each.value.resource_group_name
  location                      = each.value.location
  zone                          = each.value.zone
  storage_account_type          = "Premium_LRS" # etcd waits for each write
  create_option                 = "Empty"
  disk_size_gb                  = 32
  public_network_access_enabled = false
  network_access_policy         = "DenyAll"
  tags                          = var.tags
}

resource "azurerm_management_lock" "data" {
  for_each   = var.members
  name       = "keep"
  scope      = azurerm_managed_disk.data[each.key].id
  lock_level = "CanNotDelete"
  notes      = "A member of the boundary's etcd. Take the lock away first, on purpose."
}

resource "azurerm_linux_virtual_machine" "this" {
  for_each                        = var.members
  name                            = "vm-${var.name}-${each.key}"
  resource_group_name             = each.value.resource_group_name
  location                        = each.value.location
  zone                            = each.value.zone
  size                            = var.vm_size
  admin_username                  = "stampops"
  disable_password_authentication = true
  encryption_at_host_enabled      = true
  source_image_id                 = var.image_id
  network_interface_ids           = [azurerm_network_interface.this[each.key].id]
  custom_data                     = base64encode(local.cloud_init[each.key])
  admin_ssh_key {
    username   = "stampops"
    public_key = var.admin_ssh_public_key
  }
  os_disk {
    caching              = "ReadOnly"
    storage_account_type = "StandardSSD_LRS"
  }
  identity {
    type         = "UserAssigned"
    identity_ids = [var.identity.id]
  }
  boot_diagnostics {}
  tags = var.tags

  # Either would replace every member at once, and with them the majority. A member
  # takes a new image or configuration when it is replaced on purpose (-replace),
  # one after the other.
  lifecycle {
    ignore_changes = [custom_data, source_image_id]
  }
}

resource "azurerm_virtual_machine_data_disk_attachment" "data" {
  for_each           = var.members
  managed_disk_id    = azurerm_managed_disk.data[each.key].id
  virtual_machine_id = azurerm_linux_virtual_machine.this[each.key].id
  lun                = 10
  caching            = "None"
}

resource "azurerm_storage_account" "snapshots" {
  name                            = var.snapshots.account_name
  resource_group_name             = var.snapshots.resource_group_name
  location                        = var.snapshots.location
  account_tier                    = "Standard"
  account_replication_type        = "ZRS" # never geo-redundant: the pair may lie outside the boundary
  shared_access_key_enabled       = false
  public_network_access_enabled   = false
  allow_nested_items_to_be_public = false
  default_to_oauth_authentication = true
  local_user_enabled              = false
  tags                            = var.tags
}

resource "azurerm_storage_container" "snapshots" {
  name                  = "etcd"
  storage_account_id    = azurerm_storage_account.snapshots.id
  container_access_type = "private"
}

resource "azurerm_role_assignment" "snapshots" {
  scope                = azurerm_storage_account.snapshots.id
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = var.identity.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_private_endpoint" "snapshots" {
  name                = "pe-${var.snapshots.account_name}"
  resource_group_name = var.snapshots.resource_group_name
  location            = var.snapshots.location
  subnet_id           = var.snapshots.subnet_id
  private_service_connection {
    name                           = "blob"
    private_connection_resource_id = azurerm_storage_account.snapshots.id
    subresource_names              = ["blob"]
    is_manual_connection           = false
  }
  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [var.snapshots.private_dns_zone_id]
  }
  tags = var.tags
}

output "endpoints" {
  description = "For gateways and control planes."
  value       = local.endpoints
}

output "controlplane_config" {
  description = "What each machine gets as /etc/stampgate/controlplane.yaml."
  value       = yamlencode(local.controlplane)
}

output "initial_cluster" {
  description = "For restoring a snapshot."
  value       = local.initial_cluster
}
