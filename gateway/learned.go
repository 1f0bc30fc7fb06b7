package gateway

import (
	"net/http"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
)

// request is what a call of any client to the route looks like to the registry.
func (g *gateway) request(s *policy.Snapshot, r *policy.CompiledRoute) targets.Request {
	req := targets.Request{Route: r, Region: g.cfg.Region, Stateless: true}
	if rules, ok := s.Stamp(g.cfg.Region); ok {
		req.Stamp = rules
	}
	return req
}

// availability is what is left for a route, in the words of health.
func (g *gateway) availability(now time.Time, s *policy.Snapshot, r *policy.CompiledRoute) health.Availability {
	switch g.registry.Serves(now, g.request(s, r)) {
	case targets.OwnAvailable:
		return health.OwnAvailable
	case targets.PassiveOnly:
		return health.PassiveOnly
	case targets.AllThrottled:
		return health.AllThrottled
	case targets.None:
	}
	return health.None
}

// A TargetStatus is a target in GET /status of the admin listener.
type TargetStatus struct {
	Backend       string       `json:"backend"`
	Deployment    string       `json:"deployment"`
	Region        geo.RegionID `json:"region"`
	Available     bool         `json:"available"`
	Drained       bool         `json:"drained,omitempty"`
	GateMS        int64        `json:"gateMs,omitempty"` // until the gate opens
	Breaker       string       `json:"breaker"`
	BreakerMS     int64        `json:"breakerMs,omitempty"` // until the next test
	ByClient      bool         `json:"breakerByOneClient,omitempty"`
	Share         float64      `json:"share"` // of its usual work, below 1 after a readmission
	InFlight      int          `json:"inFlight"`
	PeerInFlight  int          `json:"peerInFlight"`
	FirstByteMS   int64        `json:"firstByteMs,omitempty"`
	IdentityAlarm bool         `json:"identityAlarm,omitempty"`
	Missing       bool         `json:"deploymentMissing,omitempty"`
	Retired       bool         `json:"modelRetired,omitempty"`
	Forbidden     bool         `json:"operationForbidden,omitempty"` // some operation, to our identity
	OtherModel    string       `json:"otherModel,omitempty"`         // what answers call it, where it is not the route's
	Avoided       bool         `json:"avoided,omitempty"`            // for that
	Suspect       bool         `json:"suspect,omitempty"`
	PeersOpen     int          `json:"peersWithOpenBreaker,omitempty"`
	Reach         string       `json:"reach,omitempty"` // what probes know, in words
}

func (g *gateway) targetStatus(now time.Time) []TargetStatus {
	all := g.registry.Status(now)
	out := make([]TargetStatus, 0, len(all))
	for _, t := range all {
		out = append(out, TargetStatus{
			Backend: t.Backend, Deployment: t.Key.Deployment, Region: t.Region, Available: t.Available(), Drained: t.Drained,
			GateMS: t.Gate.Milliseconds(), Breaker: t.Breaker.String(), BreakerMS: t.BreakerFor.Milliseconds(),
			ByClient: t.ByClient, Share: t.Share, InFlight: t.InFlight, PeerInFlight: t.PeerInFlight,
			FirstByteMS: t.FirstByte.Milliseconds(), IdentityAlarm: t.Identity, Missing: t.Missing, Suspect: t.Suspect, PeersOpen: t.PeersOpen,
			Retired: t.Retired, Forbidden: t.Forbidden, OtherModel: t.OtherModel, Avoided: t.Avoided,
			Reach: t.Reach,
		})
	}
	return out
}

func (g *gateway) healthTargets(now time.Time) []health.Target {
	all := g.registry.Status(now)
	out := make([]health.Target, 0, len(all))
	for _, t := range all {
		out = append(out, health.Target{
			Backend: t.Backend, Deployment: t.Key.Deployment, Region: string(t.Region), Passive: t.Region != g.cfg.Region,
			Drained: t.Drained, Breaker: t.Breaker.String(), GatedFor: t.Gate,
			InFlight: t.InFlight + t.PeerInFlight, FirstByte: t.FirstByte, Reach: t.Reach, Unreachable: t.Unreachable,
		})
	}
	return out
}

// An Explanation is a target in GET /explain of the admin listener.
type Explanation struct {
	Backend    string       `json:"backend"`
	Deployment string       `json:"deployment"`
	Region     geo.RegionID `json:"region"`
	Tier       int          `json:"tier"`
	Passive    bool         `json:"passive"`
	Order      int          `json:"order"` // 1 = tried first; 0 = excluded
	Reason     string       `json:"reason,omitempty"`
	WaitMS     int64        `json:"waitMs,omitempty"` // until the reason may be over
}

// explain answers GET /explain?route=R[&client=C]: what would be tried now, in
// which order, and why not the rest.
func (g *gateway) explain(w http.ResponseWriter, r *http.Request) {
	fail := func(code int, text string) { writeJSON(w, code, map[string]string{"error": text}) }
	s := g.follower.Snapshot()
	if s == nil {
		fail(http.StatusServiceUnavailable, "no policy is in force yet")
		return
	}
	name, client := r.URL.Query().Get("route"), r.URL.Query().Get("client")
	route, ok := s.Route(name)
	if !ok {
		fail(http.StatusNotFound, "the policy has no such route: name one with ?route=")
		return
	}
	if client != "" {
		switch p := clientNamed(s, client); {
		case p == nil:
			fail(http.StatusNotFound, "the policy has no such client")
			return
		case !p.May(name):
			fail(http.StatusForbidden, "the route is not granted to the client")
			return
		}
	}
	req := g.request(s, route)
	req.Client = client
	out := []Explanation{}
	for _, e := range g.registry.Explain(time.Now(), req) {
		out = append(out, Explanation{
			Backend: e.Target.Backend, Deployment: e.Target.Deployment, Region: e.Target.Region(),
			Tier: e.Tier, Passive: e.Passive, Order: e.Order, Reason: e.Reason, WaitMS: e.Wait.Milliseconds(),
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"gateway": g.cfg.Name, "region": g.cfg.Region, "policy": s.Serial(), "route": name, "targets": out,
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
