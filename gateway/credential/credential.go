// Package credential is how a gateway proves itself to its backends: keys from
// files and the environment, and tokens of Azure identities, each kept fresh in
// the background so that a request never waits for one.
//
// It never logs or returns a credential except into the header of a request to
// a backend. The proxy asks for a Source, the gateway runs the Set, health reads
// its problems.
package credential

import (
	"context"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A Source puts a credential into a request to a backend. It is an interface
// because keys and tokens differ in header and life.
type Source interface {
	// Apply replaces whatever credential h holds by ours. It does no I/O. On
	// error h holds none: the request must not be sent.
	Apply(h http.Header) error
}

// A Problem is a credential that needs an operator: the identity alarm.
type Problem struct {
	Credential string // which one, in words; never its value
	Scope      string
	Backends   []string // that use it
	Unusable   bool     // nothing can be sent with it
	Text       string
	Since      time.Time
}

// Config is what a Set needs. The zero value of every field has a default.
type Config struct {
	Log          zerolog.Logger
	KeyFilePoll  time.Duration // how often key files are read again; default 5s
	TokenTimeout time.Duration // for one attempt to get a token; default 30s
	// NewToken makes the Azure credential; default azidentity. Tests replace it.
	NewToken func(policy.Credential) (azcore.TokenCredential, error)
}

// A Set holds one source for each distinct credential and scope of a policy.
type Set struct{}

// New returns a set without sources. It starts nothing.
func New(cfg Config) *Set { return &Set{} }

// Run keeps the credentials fresh. It owns every goroutine that it starts and
// returns only when all have ended, after ctx is done.
func (s *Set) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Advance makes sources for the credentials of a new snapshot, keeps those that
// exist and drops the others. Keys are read before it returns; tokens are
// fetched by Run.
func (s *Set) Advance(snap *policy.Snapshot) {}

// For returns the source for a target; it is never nil. The source of a target
// that the set does not know refuses to apply.
func (s *Set) For(t *policy.Target) Source { return nil }

// Rejected tells that a backend refused our credential: it is renewed soon.
func (s *Set) Rejected(src Source) {}

// Usable returns the credentials with which nothing can be sent; a gateway is
// ready if there are none.
func (s *Set) Usable() []Problem { return nil }

// Problems returns every credential that needs an operator, usable or not.
func (s *Set) Problems() []Problem { return nil }

// WaitUsable returns when every credential was tried once, or ctx is done.
func (s *Set) WaitUsable(ctx context.Context) error { return nil }
