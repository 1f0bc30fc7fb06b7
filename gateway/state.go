package gateway

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/running"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// orders is what the orders in force mean for this gateway. It never changes.
type orders struct {
	gateway bool // this gateway shall drain
	region  bool // this gateway's region shall drain
}

// takeOrders puts the orders in force: which backends and regions get no new
// work, and whether this gateway or its region is among them.
func (g *gateway) takeOrders(all []store.Order) {
	o := &orders{}
	backends, regions := make(map[string]bool), make(map[geo.RegionID]bool)
	for _, order := range all {
		if order.Action != store.Drain {
			continue
		}
		switch order.Kind {
		case store.BackendOrder:
			backends[order.Name] = true
		case store.RegionOrder:
			regions[geo.RegionID(order.Name)] = true
			o.region = o.region || order.Name == string(g.cfg.Region)
		case store.GatewayOrder:
			o.gateway = o.gateway || order.Name == g.cfg.Name
		}
	}
	g.ordered.Store(o)
	g.registry.SetDrained(backends, regions)
	g.evaluate(time.Now()) // a drain shows at once
}

// isDraining reports whether this gateway takes no new work, by signal or order.
func (g *gateway) isDraining() bool { return g.draining.Load() || g.ordered.Load().gateway }

// observe is what the health machine looks at, twice a second. It asks nobody
// outside this process. The caller holds routes.mu.
func (g *gateway) observe(now time.Time) health.Inputs {
	in := health.Inputs{
		Now: now, Draining: g.isDraining(), RegionDrained: g.ordered.Load().region,
	}
	s := g.follower.Snapshot()
	if s == nil {
		return in
	}
	in.PolicyLoaded, in.Policy = true, s.Digest()
	in.CredentialsUsable = g.credentialsUsable()
	if rules, ok := s.Stamp(g.cfg.Region); ok {
		in.Choice = rules.Health
	}
	in.Routes, in.SameRoutes = g.routes.look(g, now, s)
	return in
}

// routesSeen is what the last evaluation found of the routes. While nothing
// happens only those are looked at again that could get better by themselves.
type routesSeen struct {
	mu       sync.Mutex // orders evaluations, and guards the fields below
	policy   *policy.Snapshot
	compiled []*policy.CompiledRoute
	routes   []health.Route
	troubled []int // in routes: those to look at, which their own region does not serve
}

// look returns the routes and whether they are as they were. The caller holds mu.
func (l *routesSeen) look(g *gateway, now time.Time, s *policy.Snapshot) (routes []health.Route, same bool) {
	quiet := g.registry.Quiet(targets.ForHealth)
	if same = quiet && l.policy == s; !same {
		l.read(s)
	}
	left := l.troubled[:0]
	for _, i := range l.troubled {
		a := g.availability(now, s, l.compiled[i])
		if a != l.routes[i].Availability {
			l.routes[i].Availability, same = a, false
		}
		if a != health.OwnAvailable {
			left = append(left, i)
		}
	}
	l.troubled = left
	return l.routes, same
}

// read begins anew: every route is to be looked at.
func (l *routesSeen) read(s *policy.Snapshot) {
	l.policy, l.compiled, l.routes, l.troubled = s, l.compiled[:0], l.routes[:0], l.troubled[:0]
	for r := range s.Routes() {
		l.troubled = append(l.troubled, len(l.routes))
		l.compiled = append(l.compiled, r)
		l.routes = append(l.routes, health.Route{Name: r.Name, Required: r.Required})
	}
}

// evaluate takes one look at the gateway's health, and says so once when
// requests are served from now on: /health/ready agrees by then.
func (g *gateway) evaluate(now time.Time) {
	before := g.machine.Summary()
	g.routes.mu.Lock()
	g.machine.Evaluate(g.observe(now))
	g.routes.mu.Unlock()
	if after := g.machine.Summary(); before.Ready != after.Ready || before.Stamp != after.Stamp || before.Draining != after.Draining {
		g.follower.Touch() // presence tells it
	}
	if g.listening.Load() && g.machine.Summary().Ready.Good() {
		g.ready.Do(g.announceReady)
	}
}

func (g *gateway) announceReady() {
	a := g.addresses()
	g.log.Info().Str("url", a.URL).Str("admin_url", a.AdminURL).Str("gossip", a.Gossip).Msg("ready")
	g.notify(lifecycle.NotifyReady)
	if g.opt.Ready != nil {
		g.opt.Ready(a)
	}
}

// addresses adds what is known only once gossip listens.
func (g *gateway) addresses() Addresses {
	a := g.address
	if g.gossip != nil {
		if local := g.gossip.Addr(); local.IsValid() {
			a.Gossip = local.String()
		}
	}
	return a
}

func isClosed(err error) bool { return err == nil || errors.Is(err, net.ErrClosed) }

// tellEnded logs how many calls were ended because the policy no longer allows them,
// if any were.
func (g *gateway) tellEnded(n running.Count) {
	if n != (running.Count{}) {
		g.log.Info().Int("backend_gone", n.Target).Int("client_gone", n.Client).Int("route_gone", n.Route).
			Msg("calls ended that the policy no longer allows")
	}
}
