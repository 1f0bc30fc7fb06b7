package follow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
)

// The files of the cache. Each holds one JSON value under its own checksum.
const (
	policyFile = "policy.json"
	ordersFile = "orders.json"
	// cacheLimit is what is read back at most, in bytes: an envelope's document
	// is at most 1 MiB compressed, which base64 makes a third larger.
	cacheLimit = 4 << 20
)

// cacheFormat is the format of the cache's files that this program writes and
// reads. The next one has to read this one too: a gateway starts without etcd
// after an upgrade.
const cacheFormat = 1

// A cacheFile is how a value lies on disk. The checksum finds a damaged file; what
// makes a policy trustworthy is its signature, which is checked again.
type cacheFile struct {
	Format int             `json:"format"`
	SHA256 string          `json:"sha256"` // of the value's bytes
	Value  json.RawMessage `json:"value"`
}

// Load puts the cached policy and orders in force. It returns nil when there is
// no cache; any error means that something that lies there is not fit for use, or
// that the policy is or may be older than what was followed before, and that this
// part is not in force: see Config.AcceptOlder.
func (f *Follower) Load() error {
	if f.cfg.CacheDir == "" || f.cfg.Verifier == nil {
		return nil
	}
	err := errors.Join(f.loadPolicy(), f.loadOrders())
	f.advancing.Lock()
	defer f.advancing.Unlock()
	if now := f.Snapshot(); now != nil && f.seen < now.Serial() { // of an older program
		f.noteSeen(now.Serial())
		f.unkeptSeen = true
	}
	f.keep() // room for what comes next
	return err
}

func (f *Follower) loadPolicy() error {
	f.advancing.Lock()
	defer f.advancing.Unlock()
	seen, damaged := f.readSeen()
	f.noteSeen(seen)
	var e store.Envelope
	found, err := f.read(policyFile, &e)
	if err != nil || !found {
		return errors.Join(err, damaged)
	}
	if damaged != nil {
		err = f.vouched(e, damaged)
	}
	if err == nil {
		err = f.advance(e, true)
	}
	if err != nil {
		f.set(func(s *State) { s.RefusedSerial, s.RefusedReason = e.Serial, reason(err) })
		return fmt.Errorf("cached policy: %w", err)
	}
	return nil
}

// vouched refuses the cached policy if the note of the highest serial is damaged,
// unless an operator names it. Nothing below it is followed in either case, but its
// serial is not noted on disk: a higher one may have been followed.
func (f *Follower) vouched(e store.Envelope, damaged error) error {
	if _, err := e.OpenVerified(f.cfg.Local.Boundary, f.cfg.Verifier); err != nil {
		return errors.Join(err, damaged)
	}
	f.noteSeen(e.Serial)
	if e.Serial != f.cfg.AcceptOlder {
		return fmt.Errorf("serial %d may be older than what this gateway has followed, and let in what was shut out since. "+
			"Let etcd bring a policy, or set policy.acceptOlder: %d in the gateway's configuration if it may be served: %w", e.Serial, e.Serial, damaged)
	}
	f.cfg.Log.Warn().Err(damaged).Uint64("serial", e.Serial).Msg("cached policy accepted by policy.acceptOlder")
	return nil
}

func (f *Follower) loadOrders() error {
	var orders []store.Order
	found, err := f.read(ordersFile, &orders)
	if err != nil || !found {
		return err
	}
	good := f.verified(orders)
	f.enforcing.Lock()
	defer f.enforcing.Unlock()
	f.enforce(good, time.Now())
	return nil
}

// keep writes the policy in force and the orders down, as far as they are not, and
// shows what the disk does not take. The caller holds advancing.
func (f *Follower) keep() {
	var errs []error
	if f.unkept != nil {
		if err := f.write(policyFile, f.unkept); err != nil {
			errs = append(errs, fmt.Errorf("policy %d is in force but not on disk, so that a start without etcd would refuse what is there: %w", f.unkept.Serial, err))
		} else {
			f.unkept = nil
		}
	}
	if f.unkeptOrders != nil {
		if err := f.write(ordersFile, *f.unkeptOrders); err != nil {
			errs = append(errs, fmt.Errorf("the orders in force are not on disk: %w", err))
		} else {
			f.unkeptOrders = nil
		}
	}
	if f.unkeptSeen {
		if err := f.writeSeen(f.seen); err != nil {
			errs = append(errs, fmt.Errorf("serial %d is not noted: %w", f.seen, err))
		} else {
			f.unkeptSeen = false
		}
	}
	errs = append(errs, f.reserve())
	f.room(errors.Join(errs...))
}

// room shows what is wrong with keeping policies on disk, if anything is.
func (f *Follower) room(err error) {
	text := ""
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	f.mu.Lock()
	before := f.state.Unkept
	f.state.Unkept = text
	f.mu.Unlock()
	if before == text {
		return
	}
	f.Touch()
	if err != nil {
		f.cfg.Log.Error().Str("reason", text).Msg("what is followed is not kept on disk")
		return
	}
	f.cfg.Log.Info().Msg("what is followed is kept on disk again")
}

// keepAgain is how often a disk that did not take something is tried again.
const keepAgain = 5 * time.Second

// KeepTrying writes down what the disk did not take, until ctx ends.
func (f *Follower) KeepTrying(ctx context.Context) {
	tick := time.NewTicker(keepAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if f.State().Unkept == "" {
			continue
		}
		f.advancing.Lock()
		f.keep()
		f.advancing.Unlock()
	}
}

func (f *Follower) path(name string) (path string, use bool) {
	return filepath.Join(f.cfg.CacheDir, name), f.cfg.CacheDir != ""
}

// read returns false if there is no such file.
func (f *Follower) read(name string, value any) (bool, error) {
	path, _ := f.path(name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("cache: %s is no file", path)
	}
	if info.Size() > cacheLimit {
		return false, fmt.Errorf("cache: %s has %d bytes, over the limit of %d", path, info.Size(), cacheLimit)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	var c cacheFile
	if err := json.Unmarshal(text, &c); err != nil {
		return false, fmt.Errorf("cache: %s is damaged: %w", path, err)
	}
	if c.Format != cacheFormat {
		return false, fmt.Errorf("cache: %w", &signing.FormatError{Subject: path, Format: c.Format, Known: cacheFormat})
	}
	if signing.Digest(c.Value) != c.SHA256 {
		return false, fmt.Errorf("cache: %s is damaged: its checksum does not match", path)
	}
	if err := json.Unmarshal(c.Value, value); err != nil {
		return false, fmt.Errorf("cache: %s: %w", path, err)
	}
	return true, nil
}

// write replaces the file in one step, so that a crash leaves the old or the
// new one.
func (f *Follower) write(name string, value any) error {
	path, use := f.path(name)
	if !use {
		return nil
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	text, err := json.Marshal(cacheFile{Format: cacheFormat, SHA256: signing.Digest(raw), Value: raw})
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.MkdirAll(f.cfg.CacheDir, 0o700); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := f.replace(path, text); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}
