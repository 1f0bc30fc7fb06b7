package gateway

import (
	"crypto/tls"
	"os"
	"sync"
	"time"
)

// A certificate is read again when its file changes, so that renewing it needs
// no restart.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex // guards the fields below
	pair    *tls.Certificate
	modTime time.Time
	checked time.Time
}

// certificateCheck is how often the file is looked at, at most.
const certificateCheck = 10 * time.Second

func newCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	c.pair, c.checked = &pair, time.Now()
	if info, err := os.Stat(certFile); err == nil {
		c.modTime = info.ModTime()
	}
	return c, nil
}

// get implements tls.Config.GetCertificate. A new pair that cannot be read
// leaves the old one in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	pair, due := c.pair, time.Since(c.checked) >= certificateCheck
	if due {
		c.checked = time.Now()
	}
	seen := c.modTime
	c.mu.Unlock()
	if !due {
		return pair, nil
	}
	info, err := os.Stat(c.certFile)
	if err != nil || info.ModTime().Equal(seen) {
		return pair, nil //nolint:nilerr // the file is being replaced: the old pair stays
	}
	fresh, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return pair, nil //nolint:nilerr // half written: the next look will tell
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pair, c.modTime = &fresh, info.ModTime()
	return c.pair, nil
}
