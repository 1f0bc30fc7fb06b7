package controlplane

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/stamp/secret"
)

const (
	tokenBytes    = 32 // of randomness
	minTokenChars = 20
	maxTokenChars = 4096
)

// loadOrCreateToken reads the admin token, or makes one and leaves it in the
// file. A file that others may read is refused.
func loadOrCreateToken(path string) (secret.Secret, error) {
	token, err := loadToken(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	if err := signing.CreateFile(path, []byte(hex.EncodeToString(raw)+"\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return secret.Secret{}, fmt.Errorf("create admin token %s: %w", path, err)
	}
	return loadToken(path) // another process may have been first
}

func loadToken(path string) (secret.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("read admin token: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return secret.Secret{}, fmt.Errorf("read admin token: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return secret.Secret{}, fmt.Errorf("admin token %s has mode %#o: others may read it; chmod 600 it", path, mode.Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTokenChars+1))
	if err != nil {
		return secret.Secret{}, fmt.Errorf("read admin token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minTokenChars || len(text) > maxTokenChars || strings.ContainsAny(token, " \t\r\n") {
		return secret.Secret{}, fmt.Errorf("admin token %s: want one word of %d to %d characters", path, minTokenChars, maxTokenChars)
	}
	return secret.New(token), nil
}
