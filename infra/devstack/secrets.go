package devstack

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/geo"
)

// secrets are the files under keys/. Each is made when it is first asked for
// and read again by a later start that keeps state.
type secrets struct{ config Config }

// file returns the path of the secret of that name, making it if need be.
func (s secrets) file(name string, create func() (string, error)) (string, error) {
	path := s.config.path("keys", name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for the key %s: %w", path, err)
	}
	value, err := create()
	if err != nil {
		return "", fmt.Errorf("make the key %s: %w", path, err)
	}
	return path, writeFile(path, []byte(value+"\n"))
}

// value returns the secret itself.
func (s secrets) value(name string, create func() (string, error)) (string, error) {
	path, err := s.file(name, create)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the key: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (s secrets) gossip(b geo.Boundary, region geo.RegionID) (string, error) {
	return s.file(fmt.Sprintf("gossip-%s-%s.key", b, region), random32)
}

func (s secrets) seal(b geo.Boundary) (string, error) {
	return s.file(fmt.Sprintf("seal-%s.key", b), random32)
}

// adminTokenName is one token for the admin listeners of all gateways.
const adminTokenName = "admin.token"

func (s secrets) client(b geo.Boundary, client string) (string, error) {
	return s.value(fmt.Sprintf("client-%s-%s.key", b, client), func() (string, error) { return auth.NewKey(b) })
}

// backendKeyName is the file with the key of a simulated instance.
func backendKeyName(backend string) string { return "backend-" + backend + ".key" }

// random32 makes a key of 32 bytes, in base64.
func random32() (string, error) {
	b := make([]byte, 32)
	_, err := rand.Read(b)
	return base64.StdEncoding.EncodeToString(b), err
}

// randomHex makes a token of 32 bytes that goes into any header or shell.
func randomHex() (string, error) {
	b := make([]byte, 32)
	_, err := rand.Read(b)
	return hex.EncodeToString(b), err
}
