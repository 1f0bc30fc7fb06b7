//go:build !linux

package netnstest_test

import "testing"

func TestStampOnARealNetwork(t *testing.T) { t.Skip("network namespaces need Linux") }
