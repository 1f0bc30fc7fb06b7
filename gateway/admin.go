package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// adminHandler serves the operators' listener. Everything on it needs the admin
// token where one is configured.
func (g *gateway) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, g.status()) })
	mux.HandleFunc("GET /explain", g.explain)
	mux.Handle("/health/", health.NewHandler(health.Config{Machine: g.machine, Detail: g.detail, Admin: true}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.token.IsZero() && !g.authorized(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "the admin token is missing or wrong: send it as Authorization: Bearer"})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// authorized reports whether the request bears the admin token.
func (g *gateway) authorized(r *http.Request) bool {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return ok && strings.EqualFold(scheme, "Bearer") && !g.token.IsZero() && g.token.Equal(strings.TrimSpace(token))
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

// Status is what GET /status of the admin listener shows.
type Status struct {
	Gateway     string             `json:"gateway"`
	Boundary    geo.Boundary       `json:"boundary"`
	Region      geo.RegionID       `json:"region"`
	Zone        string             `json:"zone,omitempty"`
	Version     string             `json:"version"`
	Started     time.Time          `json:"started"`
	Health      string             `json:"health"`
	Stamp       string             `json:"stamp"`
	Draining    bool               `json:"draining"`
	InFlight    int                `json:"inFlight"`
	Policy      PolicyStatus       `json:"policy"`
	Orders      []store.Order      `json:"orders"`
	Credentials []CredentialStatus `json:"credentialProblems"`
	Targets     []TargetStatus     `json:"targets"`
	Gossip      *membership.Status `json:"gossip,omitempty"`
}

// PolicyStatus is what is in force, and what was refused.
type PolicyStatus struct {
	Serial        uint64    `json:"serial"`
	Digest        string    `json:"digest,omitempty"`
	Since         time.Time `json:"since,omitzero"`
	FromDisk      bool      `json:"fromDisk"`
	Connected     bool      `json:"connected"` // the source was heard and is not silent
	RefusedSerial uint64    `json:"refusedSerial,omitempty"`
	RefusedReason string    `json:"refusedReason,omitempty"`
	HighestSerial uint64    `json:"highestSerial,omitempty"` // that was ever followed here
	Unkept        string    `json:"unkept,omitempty"`        // what the disk does not take
	Problem       string    `json:"problem,omitempty"`       // why it is not connected
	Unannounced   string    `json:"unannounced,omitempty"`   // why the control plane is not told of this gateway
}

// CredentialStatus is a credential that needs an operator.
type CredentialStatus struct {
	Credential string    `json:"credential"`
	Backends   []string  `json:"backends"`
	Unusable   bool      `json:"unusable"`
	Problem    string    `json:"problem"`
	Since      time.Time `json:"since"`
}

func (g *gateway) status() Status {
	s, summary := g.follower.State(), g.machine.Summary()
	out := Status{
		Gateway: g.cfg.Name, Boundary: g.cfg.Boundary, Region: g.cfg.Region, Zone: g.cfg.Zone,
		Version: telemetry.Version(), Started: g.started.UTC(),
		Health: summary.Ready.String(), Stamp: summary.Stamp.String(),
		Draining: g.isDraining(), InFlight: g.inflight.Count(),
		Policy: PolicyStatus{
			Serial: s.AppliedSerial, Digest: s.AppliedDigest, Since: s.AppliedAt, FromDisk: s.FromDisk,
			Connected: s.Connected, RefusedSerial: s.RefusedSerial, RefusedReason: s.RefusedReason,
		},
		Orders: s.Orders, Targets: g.targetStatus(time.Now()), Credentials: problems(g.credentials.Problems()),
	}
	out.Policy.HighestSerial, out.Policy.Unkept = s.SeenSerial, s.Unkept
	if g.store != nil {
		out.Policy.Problem, out.Policy.Unannounced = g.store.Problems()
	}
	if g.gossip != nil {
		gs := g.gossip.Status()
		out.Gossip = &gs
	}
	return out
}

func problems(list []credential.Problem) []CredentialStatus {
	out := make([]CredentialStatus, 0, len(list))
	for _, p := range list {
		out = append(out, CredentialStatus{Credential: p.Credential, Backends: p.Backends, Unusable: p.Unusable, Problem: p.Text, Since: p.Since})
	}
	return out
}

// credentialsUsable reports whether at least one backend can be spoken to: with
// the others' credentials broken, the gateway still serves.
func (g *gateway) credentialsUsable() bool {
	s := g.follower.Snapshot()
	if s == nil {
		return false
	}
	broken := make(map[string]bool)
	for _, p := range g.credentials.Usable() {
		for _, b := range p.Backends {
			broken[b] = true
		}
	}
	for t := range s.Targets() {
		if !broken[t.Backend] {
			return true
		}
	}
	return false
}

// detail is what only operators may see of this gateway's health.
func (g *gateway) detail() health.Detail {
	now, s := time.Now(), g.follower.State()
	d := health.Detail{
		Version: telemetry.Version(), Gateway: g.cfg.Name, Boundary: string(g.cfg.Boundary), Region: string(g.cfg.Region),
		PolicySerial: s.AppliedSerial, Targets: g.healthTargets(now), Connected: s.Connected, Unkept: s.Unkept,
	}
	if g.store != nil {
		d.Problem, _ = g.store.Problems()
	}
	if !s.AppliedAt.IsZero() {
		d.PolicyAge = now.Sub(s.AppliedAt)
	}
	if g.gossip != nil {
		d.Gossip = g.gossip.Detail()
	}
	return d
}
