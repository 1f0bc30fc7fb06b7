// Package api is the gateway's edge: it takes HTTP requests in, admits them,
// hands them to the proxy, and turns what comes back into answers.
//
// It chooses no backend and opens no connection. A request's error
// is logged here and nowhere else. Only the gateway's wiring uses it.
package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/proxy"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// Config is what the edge is made of.
type Config struct {
	Boundary geo.Boundary
	Region   geo.RegionID
	Name     string
	// Snapshot returns the policy in force, nil before the first. A request asks
	// once and keeps it to its end.
	Snapshot func() *policy.Snapshot
	Auth     auth.Authenticator
	Proxy    *proxy.Proxy
	Health   http.Handler
	Inflight *lifecycle.Inflight
	Running  *running.Set // of the calls that are served
	// Draining: answers ask the client to open a new connection.
	Draining    func() bool
	FrontDoorID []string // of which X-Azure-FDID must name one; empty: not checked
	// BodyTimeout is how long a client may take to send a body, and WriteTimeout to
	// take a piece of its answer.
	BodyTimeout, WriteTimeout time.Duration
	// Budget bounds the bytes that requests hold, and Sessions the WebSockets of
	// each client.
	Budget   *bytebudget.Budget
	Sessions *edge.Counter[string]
	Metrics  *Metrics
	Log      zerolog.Logger
}

const (
	// MaxBody is what a request with several images in it takes.
	MaxBody = 32 << 20
	// requestCost is what a request costs beside its body and a held answer, in
	// bytes: buffers and goroutines towards the client and a backend.
	requestCost = 32 << 10
	// sessionCost is what a session costs beside that: one message of each side is
	// on its way, and the backend's first is looked at.
	sessionCost = 96 << 10
)

type server struct{ Config }

// New returns the handler of the public listener.
func New(cfg Config) http.Handler {
	s := &server{cfg}
	healthy := edge.WithoutBodies(cfg.Health)
	// Two ways in, and no redirect: SDKs drop their credential on the way.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/health/") {
			healthy.ServeHTTP(w, r)
			return
		}
		s.serve(w, r)
	})
}
