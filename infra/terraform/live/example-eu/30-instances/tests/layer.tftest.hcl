mock_provider "azurerm" {}

run "example" {
  command = plan
  assert {
    condition     = toset(keys(azurerm_resource_group.this)) == toset(["swedencentral", "francecentral"])
    error_message = "a region has its own group"
  }
  assert {
    condition     = yamldecode(output.policy).boundary == "eu" && length(yamldecode(output.policy).backends) == 2
    error_message = "the policy names every instance"
  }
}
