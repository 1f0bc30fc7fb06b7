package gateway

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/admin"
	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/stamp/certificate"
	"github.com/stampgate/stampgate/stamp/membership"
)

// A ConfigError is a fault of the configuration or of a file that it names, as
// opposed to something that goes wrong while running.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap returns the faults, joined.
func (e *ConfigError) Unwrap() error { return e.Err }

// Check reports, as a *ConfigError, every fault for which Run would not start:
// those of the configuration itself or, if it has none, of the files that it
// names. Run begins with it, so that what passes here does not fail there. It opens no
// listener, asks nobody, and leaves no file behind.
func (c Config) Check() error {
	c = c.withDefaults()
	err := c.Validate()
	if err == nil {
		err = errors.Join(c.checkCertificate(), c.checkAdmin(), c.checkPolicy(), c.checkGossip(), c.checkSeal(), c.checkBodies())
	}
	if err != nil {
		return &ConfigError{err}
	}
	return nil
}

func (c Config) checkBodies() error {
	if c.Bodies == nil {
		return nil
	}
	if err := body.CheckFolder(c.Bodies.Dir); err != nil {
		return fmt.Errorf("bodies.dir: %w", err)
	}
	return nil
}

func (c Config) checkCertificate() error {
	if c.TLS.CertFile == "" {
		return nil
	}
	if _, err := certificate.Load(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}

func (c Config) checkAdmin() error {
	if c.Admin == nil {
		return nil
	}
	_, err := admin.ReadToken(c.Admin.TokenFile)
	return err
}

// checkPolicy compiles a policy file, within the residency that the
// configuration allows. What an etcd has is not asked: it may be away.
func (c Config) checkPolicy() error {
	if c.Policy.Etcd != nil {
		if err := c.storeConfig().Check(); err != nil {
			return fmt.Errorf("policy.etcd: %w", err)
		}
		if err := follow.CheckFolder(c.Policy.CacheDir); err != nil {
			return fmt.Errorf("policy.cacheDir: %w", err)
		}
		return nil
	}
	source, err := os.ReadFile(c.Policy.File)
	if err != nil {
		return fmt.Errorf("policy.file: %w", err)
	}
	doc, err := policy.Decode(source)
	if err == nil {
		_, err = policy.Compile(doc, policy.Options{Local: new(c.local()), AllowLoopback: c.AllowLoopback})
	}
	if err != nil {
		return fmt.Errorf("policy.file: %s: %w", c.Policy.File, err)
	}
	return nil
}

func (c Config) storeConfig() store.Config {
	e := c.Policy.Etcd
	return store.Config{Endpoints: e.Endpoints, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile}
}

func (c Config) checkGossip() error {
	if c.Gossip == nil {
		return nil
	}
	_, err := membership.New(c.gossipConfig(zerolog.Nop(), prometheus.NewRegistry()))
	return err
}

// sealKeyLimit is far more than all keys that a rotation can need, in bytes.
const sealKeyLimit = 64 << 10

// checkSeal reads the keys of object ids: base64 of 32 bytes, one a line, as in
// the gossip's key file. No key, nor a part of one, goes into an error.
func (c Config) checkSeal() error {
	if c.Seal == nil {
		return nil
	}
	if c.Seal.KeyFile == "" {
		return errors.New("seal.keyFile: is missing")
	}
	f, err := os.Open(c.Seal.KeyFile)
	if err != nil {
		return fmt.Errorf("seal.keyFile: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, sealKeyLimit))
	if err != nil {
		return fmt.Errorf("seal.keyFile: %w", err)
	}
	keys, number := 0, 0
	for line := range strings.Lines(string(text)) {
		number++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if key, err := base64.StdEncoding.Strict().DecodeString(line); err != nil || len(key) != 32 {
			return fmt.Errorf("seal.keyFile: %s: line %d: want base64 of 32 bytes, as 'openssl rand -base64 32' prints", c.Seal.KeyFile, number)
		}
		keys++
	}
	if keys == 0 {
		return fmt.Errorf("seal.keyFile: %s holds no key: want base64 of 32 bytes, as 'openssl rand -base64 32' prints", c.Seal.KeyFile)
	}
	return nil
}
