package health

import (
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
)

// Detail is what only the operator may see. It is made afresh for each detailed
// request.
type Detail struct {
	Version  string // of the build
	Gateway  string
	Boundary string
	Region   string

	PolicySerial uint64
	PolicyAge    time.Duration // since it came into force
	Connected    bool          // where policies come from is heard
	Problem      string        // why not
	Unkept       string        // what is followed and the disk does not take

	Targets []targets.Status
	// Gossip is nil where there is none.
	Gossip *Gossip
}

// Gossip is the stamp as gossip shows it. It never counts for the status.
type Gossip struct {
	Members []Member
	Dropped uint64 // messages that did not fit
}

// A Member is one gateway of the stamp.
type Member struct {
	Name         string
	State        string // alive, suspect, left
	PolicySerial uint64
	Ready        Status
}

// detailAnswer builds the operator's document. The status is the one that
// everyone gets.
func detailAnswer(p *view, stamp bool, code int, d Detail) *answer {
	s := p.summary
	now := time.Now().UTC().Format(time.RFC3339Nano)
	doc := document{
		Status:    s.Ready,
		Version:   d.Version,
		ServiceID: d.Gateway,
		Notes:     []string{"boundary " + d.Boundary, "region " + d.Region},
		Checks:    map[string][]check{},
	}
	if stamp {
		doc.Status = s.Stamp
	}
	if s.Draining {
		doc.Output = "draining"
	}
	loaded := Fail
	if p.policy {
		loaded = Pass
	}
	doc.Checks["policy:serial"] = []check{{ObservedValue: d.PolicySerial, Status: loaded, Time: now}}
	doc.Checks["policy:age"] = []check{{ObservedValue: d.PolicyAge.Seconds(), ObservedUnit: "s", Status: loaded, Time: now}}
	doc.Checks["policy:source"] = []check{{ObservedValue: d.Connected, Status: warnIf(!d.Connected), Output: d.Problem, Time: now}}
	doc.Checks["policy:kept"] = []check{{ObservedValue: d.Unkept == "", Status: warnIf(d.Unkept != ""), Output: d.Unkept, Time: now}}
	for _, r := range s.Routes {
		doc.Checks[r.Name+":availability"] = []check{{
			Status: r.Status, Output: r.Availability.String(), Required: new(r.Required), Time: now,
		}}
	}
	for _, t := range d.Targets {
		key := t.Backend + ":targets"
		doc.Checks[key] = append(doc.Checks[key], targetCheck(t, d.Region, now))
	}
	if d.Gossip != nil {
		doc.Checks["gossip:members"] = memberChecks(d.Gossip, now)
		doc.Checks["gossip:dropped"] = []check{{ObservedValue: d.Gossip.Dropped, ObservedUnit: "messages", Status: Pass, Time: now}}
	}
	return newAnswer(code, healthJSON, doc.encode())
}

func warnIf(yes bool) Status {
	if yes {
		return Warn
	}
	return Pass
}

// targetCheck shows a target to a gateway in the region.
func targetCheck(t targets.Status, region, now string) check {
	return check{
		ComponentID:   t.Deployment,
		ComponentType: "component",
		Status:        statusOf(t),
		Time:          now,
		Output:        t.Reach,
		Region:        string(t.Region),
		Passive:       string(t.Region) != region,
		Breaker:       t.Breaker.String(),
		Gated:         t.Gate,
		Drained:       t.Drained,
		InFlight:      t.InFlight + t.PeerInFlight,
		FirstByteMS:   float64(time.Duration(t.FirstByte).Microseconds()) / 1000,
	}
}

func statusOf(t targets.Status) Status {
	switch {
	case t.Breaker == breaker.Open, t.Unreachable:
		return Fail
	case t.Drained, t.Gate > 0, t.Breaker == breaker.HalfOpen:
		return Warn
	default:
		return Pass
	}
}

func memberChecks(g *Gossip, now string) []check {
	checks := make([]check, 0, len(g.Members))
	for _, m := range g.Members {
		checks = append(checks, check{
			ComponentID:   m.Name,
			ComponentType: "system",
			ObservedValue: m.State,
			Status:        m.Ready,
			Time:          now,
			Serial:        m.PolicySerial,
		})
	}
	return checks
}
