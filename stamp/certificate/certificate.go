// Package certificate keeps a certificate and its key as their files have them, so
// that renewing them needs no restart of a process that serves with them or shows
// them to a server.
//
// It looks at the files when a connection begins and never by itself: it has no
// goroutine and no clock. It knows nothing of who may trust the certificate. The
// gateway's and the control plane's listeners use it, and the client of etcd.
package certificate

import (
	"crypto/tls"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Pair is a certificate with its key.
type Pair struct {
	certFile, keyFile string

	now atomic.Pointer[tls.Certificate]

	looking sync.Mutex // one connection looks at the files, the others take what there is
	read    [2]version // of the files that now was read from; guarded by looking
}

// A version tells one content of a file from another.
type version struct {
	time time.Time
	size int64
}

// Load reads a pair. The error says which file cannot be used.
func Load(certFile, keyFile string) (*Pair, error) {
	p := &Pair{certFile: certFile, keyFile: keyFile}
	p.read = p.versions()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	p.now.Store(&pair)
	return p, nil
}

// ForServer is a tls.Config's GetCertificate.
func (p *Pair) ForServer(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.latest(), nil }

// ForClient is a tls.Config's GetClientCertificate.
func (p *Pair) ForClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return p.latest(), nil
}

// latest returns what the files hold. A pair that cannot be read, or of which only
// one half has been written yet, leaves the old one in use until it can. A disk that
// hangs holds up one connection, not all.
func (p *Pair) latest() *tls.Certificate {
	if p.looking.TryLock() {
		defer p.looking.Unlock()
		if now := p.versions(); now != p.read {
			if pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile); err == nil {
				p.now.Store(&pair)
				p.read = now
			}
		}
	}
	return p.now.Load()
}

// versions of the files; of one that is not there, the zero version.
func (p *Pair) versions() (v [2]version) {
	for i, name := range [...]string{p.certFile, p.keyFile} {
		if info, err := os.Stat(name); err == nil {
			v[i] = version{info.ModTime(), info.Size()}
		}
	}
	return v
}
