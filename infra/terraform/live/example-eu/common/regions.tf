variable "regions" {
  description = "From layer 20-region, of every region."
  type = map(object({
    resource_group_name  = string
    virtual_network_id   = string
    virtual_network_name = string
    subnet_ids           = map(string)
    cidrs                = map(string)
    private_dns_zone_ids = map(string)
    identity             = object({ id = string, client_id = string, principal_id = string })
    key_vault_uri        = string
  }))
}
