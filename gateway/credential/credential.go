// Package credential is how a gateway proves itself to its backends: keys from
// files and the environment, and tokens of Azure identities, each kept fresh in
// the background so that a request never waits for one.
//
// A credential leaves this package only in the header of a request to a backend;
// no log line, error or problem holds any part of one. The gateway's wiring runs the
// Set, relay has it sign requests, health asks what it reaches, and admin shows its
// problems.
package credential

import (
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A Source puts a credential into a request to a backend.
type Source interface {
	// Apply replaces whatever credential h holds by ours. It does no I/O. The
	// generation is never 0 and grows with each renewal, so that whoever was refused
	// can tell a renewed credential from the same one. On error h holds none: the
	// request must not be sent.
	Apply(h http.Header) (generation uint64, err error)
}

// An UnusableError says that there is nothing to send to a backend.
type UnusableError struct {
	Credential string // which one, in words
	Text       string // why
}

func (e *UnusableError) Error() string {
	return "credential " + e.Credential + " is not usable: " + e.Text
}

// A Problem is a credential that needs an operator: the identity alarm.
type Problem struct {
	Credential string // which one, in words; never its value
	Scope      string
	Backends   []string // that use it, sorted
	Unusable   bool     // nothing can be sent with it
	Text       string
	Since      time.Time
}

// Config is what a Set needs. The zero value of every field has a default.
type Config struct {
	Log          zerolog.Logger
	KeyFilePoll  time.Duration // how often key files are read again; default 5s
	TokenTimeout time.Duration // for one attempt to get a token; default 30s
	// DisableInstanceDiscovery is for clouds that Microsoft does not run.
	DisableInstanceDiscovery bool
	// NewToken makes the Azure credential; default azidentity. Tests replace it.
	NewToken func(policy.Credential) (azcore.TokenCredential, error)
}

// DefaultScope is the audience of Azure OpenAI where a backend names none.
const DefaultScope = "https://cognitiveservices.azure.com/.default"

// identity says which source serves a target. Two targets with equal ones share
// a source, and with it the token.
type identity struct {
	kind   string
	name   string // file, variable or client id
	tenant string
	scope  string // of tokens
	bearer bool   // a key goes out as a bearer token
}

// The kinds, as the policy spells them.
const (
	managedIdentity  = "managedIdentity"
	workloadIdentity = "workloadIdentity"
	apiKeyFile       = "apiKeyFile"
	apiKeyEnv        = "apiKeyEnv"
)

func identify(t *policy.Target) identity {
	c := t.Credential
	scope := t.Scope
	if scope == "" {
		scope = DefaultScope
	}
	bearer := t.Kind == policy.OpenAICompatible
	switch {
	case c.ManagedIdentity != nil:
		return identity{kind: managedIdentity, name: c.ManagedIdentity.ClientID, scope: scope}
	case c.WorkloadIdentity != nil:
		return identity{kind: workloadIdentity, name: c.WorkloadIdentity.ClientID, tenant: c.WorkloadIdentity.TenantID, scope: scope}
	case c.APIKeyFile != "":
		return identity{kind: apiKeyFile, name: c.APIKeyFile, bearer: bearer}
	}
	return identity{kind: apiKeyEnv, name: c.APIKeyEnv, bearer: bearer}
}

func (id identity) String() string {
	if id.name == "" {
		return id.kind
	}
	return id.kind + " " + id.name
}
