mock_provider "azurerm" {}

run "example" {
  command = plan
  assert {
    condition     = join(" ", output.etcd_endpoints) == "https://10.10.0.36:2379 https://10.10.0.37:2379 https://10.10.0.38:2379"
    error_message = "etcd's addresses follow from the layout"
  }
  assert {
    condition     = length(azurerm_virtual_network_peering.mesh) == 2
    error_message = "both ways between both regions"
  }
}
