package signing

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	pemType = "PRIVATE KEY" // PKCS #8, as openssl genpkey -algorithm ed25519 writes it
	// An Ed25519 key takes 119 bytes of PEM; the rest is room for comments.
	maxKeyFileBytes = 16 << 10
)

// LoadOrCreateKey reads the key from the file, or makes one and writes it when
// there is no file. It refuses a file that others than its owner may read. Two
// processes that start at once agree on one key, and a crash leaves either no
// file or a whole one.
func LoadOrCreateKey(path string) (PrivateKey, error) {
	key, err := LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err = GenerateKey()
	if err != nil {
		return PrivateKey{}, err
	}
	if err := createKeyFile(path, key); err != nil && !errors.Is(err, fs.ErrExist) {
		return PrivateKey{}, fmt.Errorf("create signing key %s: %w", path, err)
	}
	return LoadKey(path) // another process may have been first
}

// LoadKey reads the key from the file, which only its owner may be able to read.
func LoadKey(path string) (PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read signing key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read signing key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return PrivateKey{}, fmt.Errorf("signing key %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return PrivateKey{}, fmt.Errorf("signing key %s has mode %#o: others may read it; chmod 600 it", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes))
	if err != nil {
		return PrivateKey{}, fmt.Errorf("read signing key: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("signing key %s: %w", path, err)
	}
	return key, nil
}

func parseKey(text []byte) (PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return PrivateKey{}, errors.New("want one PEM block PRIVATE KEY (PKCS #8)")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, errors.New("not a PKCS #8 key") // the parser's text could quote the key
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return PrivateKey{}, fmt.Errorf("is a %T, want Ed25519", parsed)
	}
	return newPrivateKey(key), nil
}

func createKeyFile(path string, key PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key.value())
	if err != nil {
		return err
	}
	return CreateFile(path, pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
}

// CreateFile writes a new file for its owner alone, or returns fs.ErrExist. It
// writes a temporary one and links it into place: unlike a rename, a link never
// replaces a key that is already there.
func CreateFile(path string, content []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, werr := tmp.Write(content)
	if err := errors.Join(werr, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
