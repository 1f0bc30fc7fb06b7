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
  assert {
    condition     = one(azurerm_private_endpoint.grafana.private_service_connection[0].subresource_names) == "grafana" && azurerm_private_endpoint.grafana.private_service_connection[0].private_connection_resource_id == var.grafana_id && azurerm_private_endpoint.grafana.subnet_id == var.regions[var.home].subnet_ids["platform"]
    error_message = "operators reach Grafana, which is private, in home's network"
  }
}
