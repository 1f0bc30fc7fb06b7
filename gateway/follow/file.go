package follow

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/stampgate/stampgate/controlplane/signing"
)

// filePoll is how often a policy file is looked at.
const filePoll = time.Second

// ReadFile puts a policy file in force. A file has no serial of its own: each
// reading counts one up, so that answers and logs tell two versions apart.
func (f *Follower) ReadFile(path string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	f.advancing.Lock()
	defer f.advancing.Unlock()
	return f.apply(source, f.nextFileVersion(source))
}

func (f *Follower) nextFileVersion(source []byte) version {
	v := version{serial: 1, digest: signing.Digest(source)}
	if now := f.Snapshot(); now != nil {
		v.serial = now.Serial() + 1
	}
	return v
}

// WatchFile reads the file again whenever its content changes, until ctx ends.
// A file that may not be followed is refused, and the last good policy stays.
func (f *Follower) WatchFile(ctx context.Context, path string) {
	last, _ := os.ReadFile(path) // ReadFile has just put it in force
	tick := time.NewTicker(filePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		source, err := os.ReadFile(path)
		if err != nil || bytes.Equal(source, last) {
			f.Connected(err == nil)
			continue
		}
		last = source
		f.advancing.Lock()
		v := f.nextFileVersion(source)
		if err := f.apply(source, v); err != nil {
			f.refuse(v.serial, err)
		}
		f.advancing.Unlock()
	}
}
