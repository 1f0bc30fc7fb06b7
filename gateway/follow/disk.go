package follow

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

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

// sealed is how a value lies on disk. The checksum finds a damaged file; what
// makes a policy trustworthy is its signature, which is checked again.
type sealed struct {
	SHA256 string          `json:"sha256"` // of the value's bytes
	Value  json.RawMessage `json:"value"`
}

// Load puts the cached policy and orders in force. It returns nil when there is
// no cache; any error means that what lies there is not fit for use.
func (f *Follower) Load() error {
	if f.cfg.CacheDir == "" || f.cfg.Verifier == nil {
		return nil
	}
	return errors.Join(f.loadPolicy(), f.loadOrders())
}

func (f *Follower) loadPolicy() error {
	var e store.Envelope
	found, err := f.read(policyFile, &e)
	if err != nil || !found {
		return err
	}
	f.advancing.Lock()
	defer f.advancing.Unlock()
	if err := f.advance(e, true); err != nil {
		return fmt.Errorf("cached policy: %w", err)
	}
	return nil
}

func (f *Follower) loadOrders() error {
	var orders []store.Order
	found, err := f.read(ordersFile, &orders)
	if err != nil || !found {
		return err
	}
	f.Orders(orders)
	return nil
}

func (f *Follower) saveEnvelope(e store.Envelope) error   { return f.write(policyFile, e) }
func (f *Follower) saveOrders(orders []store.Order) error { return f.write(ordersFile, orders) }
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
	if info.Size() > cacheLimit {
		return false, fmt.Errorf("cache: %s has %d bytes, over the limit of %d", path, info.Size(), cacheLimit)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	var s sealed
	if err := json.Unmarshal(text, &s); err != nil {
		return false, fmt.Errorf("cache: %s is damaged: %w", path, err)
	}
	if sum := checksum(s.Value); sum != s.SHA256 {
		return false, fmt.Errorf("cache: %s is damaged: its checksum does not match", path)
	}
	if err := json.Unmarshal(s.Value, value); err != nil {
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
	text, err := json.Marshal(sealed{SHA256: checksum(raw), Value: raw})
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := os.MkdirAll(f.cfg.CacheDir, 0o700); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	if err := renameio.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

func checksum(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
