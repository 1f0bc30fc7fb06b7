package body_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/stampgate/stampgate/gateway/body"
)

// A folder that is really full takes no body, keeps nothing of it, and takes the
// next one that fits.
func TestAFullFolder(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
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
