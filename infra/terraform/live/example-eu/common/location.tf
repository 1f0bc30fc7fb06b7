variable "location" {
  description = "The region to apply, one of layout."
  type        = string
}
