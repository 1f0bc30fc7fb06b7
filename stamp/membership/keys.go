package membership

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
)

const (
	keyBytes     = 32 // AES-256
	maxKeys      = 8
	maxKeyFile   = 64 << 10
	keyFileSteps = "want base64 of 32 bytes, one key a line, the first is used to send"
)

// A keyFile follows a file of keys. A rotation takes three steps, each of which
// must have reached every gateway before the next: add the new key as the
// second line, move it to the first, remove the old one. A gateway that starts
// in any of them can join, since each step sends with a key that all know.
type keyFile struct {
	path string
	ring *memberlist.Keyring

	mu     sync.Mutex // guards the fields below; never held across I/O
	digest [sha256.Size]byte
	count  int
	err    error // why the file as it is now is not in force
}

// readKeyFile reads the file at start, when a fault in it is fatal.
func readKeyFile(path string) (*keyFile, error) {
	text, err := readBounded(path, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return &keyFile{path: path, ring: ring, digest: sha256.Sum256(text), count: len(keys)}, nil
}

// parseKeys never puts a key, or a part of one, into an error.
func parseKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("line %d: %s", number, keyFileSteps)
		}
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) }) {
			return nil, fmt.Errorf("line %d: repeats a key", number)
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("line %d: more than %d keys", number, maxKeys)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key: " + keyFileSteps)
	}
	return keys, nil
}

// reload takes over what the file says now. A file that is gone, half written
// or wrong changes nothing and is remembered as the fault to report. It returns
// whether the keys have changed.
func (k *keyFile) reload() (bool, error) {
	text, err := readBounded(k.path, maxKeyFile)
	if err != nil {
		return false, k.fault(fmt.Errorf("read the key file: %w", err))
	}
	digest := sha256.Sum256(text)
	k.mu.Lock()
	same := digest == k.digest
	k.mu.Unlock()
	if same {
		return false, k.fault(nil)
	}
	keys, err := parseKeys(text)
	if err == nil {
		err = install(k.ring, keys)
	}
	if err != nil {
		return false, k.fault(fmt.Errorf("key file %s: %w: the keys before it stay in force", k.path, err))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.digest, k.count, k.err = digest, len(keys), nil
	return true, nil
}

func (k *keyFile) fault(err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
	return err
}

func (k *keyFile) status() (count int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.count, k.err
}

// install makes the ring hold exactly these keys, in this order. New keys are
// added before one is used, and used before one is removed. Each UseKey moves a
// key to the front, so that at the end the keys to remove stand last: RemoveKey
// shifts what follows inside a slice that memberlist reads without a lock.
func install(ring *memberlist.Keyring, keys [][]byte) error {
	for _, key := range keys {
		if err := ring.AddKey(key); err != nil {
			return err
		}
	}
	if !ordered(ring.GetKeys(), keys) {
		for _, key := range slices.Backward(keys) {
			if err := ring.UseKey(key); err != nil {
				return err
			}
		}
	}
	stale := slices.Clone(ring.GetKeys()[len(keys):])
	for _, key := range slices.Backward(stale) {
		if err := ring.RemoveKey(key); err != nil {
			return err
		}
	}
	return nil
}

// ordered reports whether the ring starts with these keys.
func ordered(ring, keys [][]byte) bool {
	return len(ring) >= len(keys) && slices.EqualFunc(ring[:len(keys)], keys, bytes.Equal)
}

// readBounded reads a file that must not be larger than limit.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, nil
}
