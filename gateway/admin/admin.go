// Package admin is the operators' side of a gateway: the handlers of its admin
// listener (status, explain, health with details, metrics), and the metrics and log
// lines that tell of its targets.
//
// It reads what the parts of the gateway know and changes none of it; orders come by
// way of the control plane. Nothing here is reached by clients, except that health
// asks it who may see details. Only the gateway's wiring uses it; what stampctl
// reads of its answers is in adminapi.
package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/admin/adminapi"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/follow"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/secret"
)

// Config is what operators are shown.
type Config struct {
	Boundary geo.Boundary
	Region   geo.RegionID
	Zone     string
	Name     string
	Started  time.Time
	Token    secret.Secret // zero: whoever reaches the listener is an operator

	Registry    *targets.Registry
	Follower    *follow.Follower
	Credentials *credential.Set
	Machine     *health.Machine
	Metrics     *prometheus.Registry
	InFlight    func() int
	Draining    func() bool
	// SourceProblems says why the source of policies is not heard, and why the
	// control plane is not told of this gateway; nil where a file is followed.
	SourceProblems func() (source, presence string)
	// Gossip and Members show the stamp; nil where there is no gossip.
	Gossip  func() membership.Status
	Members func() *health.Gossip
}

// An Admin answers operators.
type Admin struct{ cfg Config }

// New returns an admin side, and has the metrics show the gateway's state.
func New(cfg Config) *Admin {
	a := &Admin{cfg: cfg}
	cfg.Metrics.MustRegister(newCollector(cfg))
	return a
}

// ReadToken reads the admin token; without a file there is none.
func ReadToken(file string) (secret.Secret, error) {
	if file == "" {
		return secret.Secret{}, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return secret.Secret{}, fmt.Errorf("admin.tokenFile: %w", err)
	}
	token := secret.New(strings.TrimSpace(string(text)))
	if token.IsZero() {
		return secret.Secret{}, fmt.Errorf("admin.tokenFile: %s is empty", file)
	}
	return token, nil
}

// Handler serves the operators' listener. Everything on it needs the admin token
// where one is configured.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.cfg.Metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, a.Status()) })
	mux.HandleFunc("GET "+adminapi.ExplainPath, a.explain)
	mux.Handle("/health/", health.NewHandler(health.Config{Machine: a.cfg.Machine, Detail: a.Detail, Admin: true}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !a.cfg.Token.IsZero() && !a.Authorized(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "the admin token is missing or wrong: send it as Authorization: Bearer")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Authorized reports whether the request bears the admin token.
func (a *Admin) Authorized(r *http.Request) bool {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return ok && strings.EqualFold(scheme, "Bearer") && !a.cfg.Token.IsZero() && a.cfg.Token.Equal(strings.TrimSpace(token))
}

// explain answers what would be tried now, in which order, and why not the rest.
func (a *Admin) explain(w http.ResponseWriter, r *http.Request) {
	s := a.cfg.Follower.Snapshot()
	if s == nil {
		refuse(w, http.StatusServiceUnavailable, "no policy is in force yet")
		return
	}
	name, client := r.URL.Query().Get(adminapi.ExplainRoute), r.URL.Query().Get(adminapi.ExplainClient)
	route, ok := s.Route(name)
	if !ok {
		refuse(w, http.StatusNotFound, "the policy has no such route: name one with ?route=")
		return
	}
	if client != "" {
		switch p := clientNamed(s, client); {
		case p == nil:
			refuse(w, http.StatusNotFound, "the policy has no such client")
			return
		case !p.May(name):
			refuse(w, http.StatusForbidden, "the route is not granted to the client")
			return
		}
	}
	req := targets.RequestOf(s, route, a.cfg.Region)
	req.Client = client
	writeJSON(w, http.StatusOK, adminapi.Explained{
		Gateway: a.cfg.Name, Region: a.cfg.Region, Policy: s.Serial(), Route: name,
		Targets: a.cfg.Registry.Explain(time.Now(), req),
	})
}

func clientNamed(s *policy.Snapshot, name string) *policy.Principal {
	for p := range s.Principals() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func refuse(w http.ResponseWriter, code int, text string) {
	writeJSON(w, code, adminapi.Refused{Error: text})
}

func writeJSON(w http.ResponseWriter, code int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // the operator has gone: nothing to do
}
