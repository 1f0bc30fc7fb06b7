mock_provider "azurerm" {}

variables {
  name     = "sgeu-etcd"
  boundary = { name = "eu", locations = ["swedencentral", "francecentral"] }
  members = {
    e1 = { resource_group_name = "rg", location = "swedencentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.36" }
    e2 = { resource_group_name = "rg", location = "swedencentral", zone = "2", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.37" }
    e3 = { resource_group_name = "rg", location = "swedencentral", zone = "3", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.38" }
  }
  image_id             = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/store/versions/1.0.0"
  identity             = { id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i", client_id = "33333333-2222-2222-2222-222222222222", principal_id = "22222222-2222-2222-2222-222222222222" }
  key_vault_uri        = "https://kv-sgeu-store.vault.azure.net/"
  snapshots            = { account_name = "stsgeusnap", resource_group_name = "rg", location = "swedencentral", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-platform", private_dns_zone_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/privatelink.example.net" }
  admin_ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ops"
}

run "three_over_zones" {
  command = plan
  assert {
    condition     = join(" ", output.endpoints) == "https://10.10.0.36:2379 https://10.10.0.37:2379 https://10.10.0.38:2379"
    error_message = "the addresses are fixed"
  }
  assert {
    condition     = yamldecode(output.controlplane_config).boundaries.eu.etcd.certFile == "/etc/stampgate/secrets/etcd.crt"
    error_message = "the control plane proves itself to etcd"
  }
  assert {
    condition     = strcontains(base64decode(azurerm_linux_virtual_machine.this["e1"].custom_data), "\\\"heartbeat-interval\\\": 100") || strcontains(base64decode(azurerm_linux_virtual_machine.this["e1"].custom_data), "\"heartbeat-interval\": 100")
    error_message = "inside one region the usual timers"
  }
  assert {
    condition     = !azurerm_storage_account.snapshots.shared_access_key_enabled && !azurerm_storage_account.snapshots.public_network_access_enabled && azurerm_storage_account.snapshots.account_replication_type == "ZRS"
    error_message = "snapshots are private and stay"
  }
  assert {
    condition     = length(azurerm_management_lock.data) == 3
    error_message = "the disks are kept"
  }
}

run "the_disk_comes_after_the_machine" {
  command = plan
  assert {
    condition     = alltrue([for vm in azurerm_linux_virtual_machine.this : !can(yamldecode(base64decode(vm.custom_data)).fs_setup) && !can(yamldecode(base64decode(vm.custom_data)).disk_setup)])
    error_message = "cloud-init looks for disks once, before this one is attached"
  }
  assert {
    condition     = alltrue([for vm in azurerm_linux_virtual_machine.this : strcontains(yamldecode(base64decode(vm.custom_data)).runcmd[0][2], "until [ -b ")])
    error_message = "the first command waits for the disk"
  }
}

run "five_over_two_regions_have_slower_timers" {
  command = plan
  variables {
    members = {
      e1 = { resource_group_name = "rg", location = "swedencentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.36" }
      e2 = { resource_group_name = "rg", location = "swedencentral", zone = "2", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.37" }
      e3 = { resource_group_name = "rg", location = "swedencentral", zone = "3", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.38" }
      f1 = { resource_group_name = "rg", location = "francecentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy2", private_ip_address = "10.20.0.36" }
      f2 = { resource_group_name = "rg", location = "francecentral", zone = "2", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy2", private_ip_address = "10.20.0.37" }
    }
  }
  assert {
    condition     = strcontains(base64decode(azurerm_linux_virtual_machine.this["e1"].custom_data), "3000")
    error_message = "an election waits for ten heartbeats between regions"
  }
}

run "two_members_refused" {
  command = plan
  variables {
    members = {
      e1 = { resource_group_name = "rg", location = "swedencentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.36" }
      e2 = { resource_group_name = "rg", location = "swedencentral", zone = "2", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.37" }
    }
  }
  expect_failures = [var.members]
}

run "one_zone_twice_refused" {
  command = plan
  variables {
    members = {
      e1 = { resource_group_name = "rg", location = "swedencentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.36" }
      e2 = { resource_group_name = "rg", location = "swedencentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.37" }
      e3 = { resource_group_name = "rg", location = "swedencentral", zone = "3", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.38" }
    }
  }
  expect_failures = [var.members]
}

run "one_address_twice_refused" {
  command = plan
  variables {
    members = {
      e1 = { resource_group_name = "rg", location = "swedencentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.36" }
      e2 = { resource_group_name = "rg", location = "swedencentral", zone = "2", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.36" }
      e3 = { resource_group_name = "rg", location = "swedencentral", zone = "3", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.38" }
    }
  }
  expect_failures = [var.members]
}

run "a_member_outside_refused" {
  command = plan
  variables {
    members = {
      e1 = { resource_group_name = "rg", location = "swedencentral", zone = "1", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.36" }
      e2 = { resource_group_name = "rg", location = "swedencentral", zone = "2", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.37" }
      e3 = { resource_group_name = "rg", location = "eastus", zone = "3", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-policy", private_ip_address = "10.10.0.38" }
    }
  }
  expect_failures = [var.members]
}

run "snapshots_outside_refused" {
  command = plan
  variables {
    snapshots = { account_name = "stsgeusnap", resource_group_name = "rg", location = "eastus", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-platform", private_dns_zone_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/privatelink.example.net" }
  }
  expect_failures = [var.snapshots]
}

run "bad_account_name_refused" {
  command = plan
  variables {
    snapshots = { account_name = "st-sgeu-snap", resource_group_name = "rg", location = "swedencentral", subnet_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/snet-platform", private_dns_zone_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Network/privateDnsZones/privatelink.example.net" }
  }
  expect_failures = [var.snapshots]
}

run "latest_image_refused" {
  command = plan
  variables { image_id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/store/versions/latest" }
  expect_failures = [var.image_id]
}

run "an_old_signing_key_is_trusted_for_a_while" {
  command = plan
  variables { trusted_policy_keys = ["ed25519:GsKeVzGqTF2QjrrHXdYfPZDLqBPWLpvjcXBgFc5QgZA="] }
  assert {
    condition     = length(yamldecode(output.controlplane_config).trustedKeys) == 1
    error_message = "the control plane counts what it signed"
  }
}

run "unknown_kind_of_key_refused" {
  command = plan
  variables { trusted_policy_keys = ["rsa:AAAA"] }
  expect_failures = [var.trusted_policy_keys]
}
