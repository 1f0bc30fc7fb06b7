package follow

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// CheckFolder says whether a folder can hold what is followed: it tries to write
// into it, or into the one in which it would be made. That the disk is full or
// broken is no fault of the configuration: a gateway serves without it.
func CheckFolder(dir string) error {
	at := dir
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is no folder", at)
		}
		if err == nil {
			break
		}
		up := filepath.Dir(at)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || up == at {
			return err
		}
		at = up
	}
	f, err := os.CreateTemp(at, ".check-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("this process may not write in %s: after a restart without etcd there would be no policy", at)
	}
	return nil
}
