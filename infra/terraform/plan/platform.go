package plan

import "runtime"

// platform is how a mirror of Terraform's names this machine's.
func platform() string { return runtime.GOOS + "_" + runtime.GOARCH }
