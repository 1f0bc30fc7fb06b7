# The example boundary: two regions in the European Union behind Front Door. Copy
# this folder, change every value, and apply the layers in their order (README.md).
# For strict residency: boundary.strict = true, edge = "traffic-manager", and who
# may connect in client_cidrs.

name                      = "sgeu"
tenant_id                 = "aaaaaaaa-0000-0000-0000-000000000000"
subscription_id           = "00000000-0000-0000-0000-000000000001" # the gateways'
instances_subscription_id = "00000000-0000-0000-0000-000000000002" # the instances', apart

boundary = {
  name      = "eu"
  countries = ["SE", "FR"]
  locations = ["swedencentral", "francecentral"]
  strict    = false

  allow_data_zone = false # true: DataZone deployments, and countries holds every country of the zone
  allow_global    = false # true: prompts are processed anywhere on earth, only data at rest stays

  # region: Microsoft's narrower sentence on Standard and ProvisionedManaged, for a
  # boundary without all countries of a geography, such as NL alone (with Ireland).
  # Make sure that your contract holds to it.
  regional_processing = "geography"
}

host_name   = "openai.eu.example.com"
edge        = "front-door"
home        = "swedencentral" # stores and observability
alert_email = "operators@example.com"

layout = {
  swedencentral = { short = "swc", address_space = "10.10.0.0/24", fallback = ["francecentral"] }
  francecentral = { short = "frc", address_space = "10.20.0.0/24", fallback = ["swedencentral"] }
}
operator_cidrs = ["10.99.0.0/24"]

# Of the workspace that layer 10 makes, see README.md.
metrics_ingestion_url = "https://amw-sgeu-x1y2.swedencentral-1.metrics.ingest.monitor.azure.com/dataCollectionRules/dcr-00000000000000000000000000000000/streams/Microsoft-PrometheusMetrics/api/v1/write?api-version=2023-04-24"

# `stampctl signing-key create signing.key` makes a key and prints this half of it.
policy_keys = ["ed25519:GsKeVzGqTF2QjrrHXdYfPZDLqBPWLpvjcXBgFc5QgZA="]

image_id             = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-sg-images/providers/Microsoft.Compute/galleries/stampgate/images/gateway/versions/1.0.0"
store_image_id       = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg-sg-images/providers/Microsoft.Compute/galleries/stampgate/images/store/versions/1.0.0"
admin_ssh_public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl operators"

instances = {
  sgeu-aoai-swc-1 = {
    location = "swedencentral"
    deployments = {
      gpt-4o-ptu = { model = "gpt-4o", version = "2024-11-20", sku = "ProvisionedManaged", capacity = 100 }
      gpt-4o     = { model = "gpt-4o", version = "2024-11-20", sku = "Standard", capacity = 450 }
    }
  }
  sgeu-aoai-frc-1 = {
    location = "francecentral"
    deployments = {
      gpt-4o = { model = "gpt-4o", version = "2024-11-20", sku = "Standard", capacity = 450 }
    }
  }
}

# The other half of the policy. `stampctl key create payroll --boundary eu` prints
# the hash of a new key.
routes = {
  gpt-4o = { model = "gpt-4o", version = "2024-11-20" }
}
clients = {
  payroll = {
    routes = ["gpt-4o"]
    keys   = [{ sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", notAfter = "2027-11-01T00:00:00Z" }]
  }
}

etcd_members = {
  e1 = { location = "swedencentral", zone = "1", host = 4 }
  e2 = { location = "swedencentral", zone = "2", host = 5 }
  e3 = { location = "swedencentral", zone = "3", host = 6 }
}
ledger_administrators = {
  stampgate-operators = { object_id = "55555555-5555-5555-5555-555555555555", principal_type = "Group" }
}
