package body_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/infra/needs"
)

// A folder that is really full takes no body, keeps nothing of it, and takes the
// next one that fits.
func TestAFullFolder(t *testing.T) {
	dir := needs.SmallDisk(t, 256<<10)
	large := make([]byte, 1<<20)
	for range 3 {
		if _, err := body.Keep(dir, large); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("a large body: %v", err)
		}
		file, err := body.Keep(dir, large[:200<<10])
		if err != nil {
			t.Fatalf("a body that fits: %v", err)
		}
		if err := body.CheckFolder(dir); err != nil {
			t.Errorf("that it is full is no fault of the configuration: %v", err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}
}
