//go:build !linux

package boundarytest_test

import "testing"

func TestTheBoundaryServes(t *testing.T) { t.Skip("SKIPPED: network namespaces need Linux") }
