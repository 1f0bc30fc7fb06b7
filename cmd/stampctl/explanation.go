package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/admin/adminapi"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
)

// A question is what explain is asked: where would this client's request for
// this route go, from a gateway in this region?
type question struct {
	Boundary geo.Boundary `json:"boundary"`
	Region   geo.RegionID `json:"region"`
	Client   string       `json:"client"`
	Route    string       `json:"route"`
}

// A drained thing is out of use by an operator's order.
type drained struct {
	Kind   string // backend, region or gateway
	Name   string
	Reason string
	Until  time.Time
}

// An explanation is the answer of a gateway that has learned nothing yet: by the
// policy and the orders in force alone, and by the code that gateways run. One that
// serves may know of throttling and failures that change it for a moment.
type explanation struct {
	question
	Serial   uint64              `json:"serial"` // 0: a policy from a file
	Model    string              `json:"model"`
	Version  string              `json:"version"`
	Refused  string              `json:"refused,omitempty"` // why the request would not be admitted
	Targets  []orderedTarget     `json:"targets"`
	Excluded []excludedTarget    `json:"excluded"`
	Notes    []string            `json:"notes,omitempty"`
	Gateway  *adminapi.Explained `json:"gateway,omitempty"` // what a gateway says itself, if one was asked
}

type orderedTarget struct {
	Tier        int          `json:"tier"`
	Backend     string       `json:"backend"`
	Deployment  string       `json:"deployment"`
	Region      geo.RegionID `json:"region"`
	SKU         geo.SKU      `json:"sku,omitempty"`
	Weight      float64      `json:"weight"`
	Passive     bool         `json:"passive"`
	Provisioned bool         `json:"provisioned"`
}

type excludedTarget struct {
	Backend    string       `json:"backend"`
	Deployment string       `json:"deployment"`
	Region     geo.RegionID `json:"region"`
	Reason     string       `json:"reason"`
}

// explain answers from a policy. The error names what the question asks for
// that the policy does not have.
func explain(doc *policy.Document, snap *policy.Snapshot, q question, out []drained) (*explanation, error) {
	route, ok := snap.Route(q.Route)
	if !ok {
		return nil, unknown("route", q.Route, namesOf(doc.Routes, func(r policy.Route) string { return r.Name }))
	}
	stamp, ok := snap.Stamp(q.Region)
	if !ok {
		return nil, unknown("stamp in region", string(q.Region), namesOf(doc.Stamps, func(s policy.Stamp) string { return string(s.Region) }))
	}
	var client *policy.Principal
	for p := range snap.Principals() {
		if p.Name == q.Client {
			client = p
		}
	}
	if client == nil {
		return nil, unknown("client", q.Client, namesOf(doc.Clients, func(c policy.Client) string { return c.Name }))
	}
	q.Boundary = snap.Boundary()
	e := &explanation{
		question: q, Serial: snap.Serial(), Model: route.Model, Version: route.Version,
		Targets: []orderedTarget{}, Excluded: []excludedTarget{},
	}
	if !client.May(q.Route) {
		e.Refused = fmt.Sprintf("403 route_forbidden: the policy does not grant %s to %s", q.Route, q.Client)
	}
	chosen := e.order(snap, route, out)
	byHand := slices.ContainsFunc(doc.Routes, func(r policy.Route) bool { return r.Name == q.Route && len(r.Tiers) > 0 })
	for t := range snap.Targets() {
		if !chosen[t] {
			e.exclude(t, whyNot(t, route, stamp, byHand))
		}
	}
	if stamp.FallbackOn != "" && stamp.FallbackOn != policy.FallbackOnAny {
		e.Notes = append(e.Notes, fmt.Sprintf("passive regions are used only after %s", stamp.FallbackOn))
	}
	if len(e.Targets) == 0 {
		e.Notes = append(e.Notes, "no target is left: a request would be answered with 503 no_backend_in_boundary")
	}
	return e, nil
}

// order takes over what a gateway would do, and returns all targets that the
// route's tiers name.
func (e *explanation) order(snap *policy.Snapshot, route *policy.CompiledRoute, out []drained) map[*policy.Target]bool {
	registry := targets.New(e.Region)
	registry.Advance(snap)
	backends, regions := make(map[string]bool), make(map[geo.RegionID]bool)
	for _, d := range out {
		switch d.Kind {
		case "backend":
			backends[d.Name] = true
		case "region":
			regions[geo.RegionID(d.Name)] = true
		}
	}
	registry.SetDrained(backends, regions)
	req := targets.RequestOf(snap, route, e.Region)
	req.Client = e.Client
	named := map[*policy.Target]bool{}
	for _, x := range registry.Explain(time.Now(), req) {
		target := x.Target
		named[target] = true
		if x.Order == 0 {
			reason := x.Reason
			if d, ok := drainOf(target, x.Passive, out); ok {
				reason = d.String()
			}
			e.exclude(target, reason)
			continue
		}
		e.Targets = append(e.Targets, orderedTarget{
			Tier: x.Tier, Backend: x.Backend, Deployment: x.Deployment, Region: x.Region, SKU: target.SKU(),
			Weight: target.Weight, Passive: x.Passive, Provisioned: target.Provisioned,
		})
	}
	return named
}

func (e *explanation) exclude(t *policy.Target, reason string) {
	e.Excluded = append(e.Excluded, excludedTarget{t.Backend, t.Deployment, t.Region(), reason})
}

// drainOf finds the order by which a target is out of use, to say more of it than
// that it is drained.
func drainOf(t *policy.Target, passive bool, out []drained) (drained, bool) {
	for _, d := range out {
		if d.Kind == "backend" && d.Name == t.Backend || d.Kind == "region" && passive && d.Name == string(t.Region()) {
			return d, true
		}
	}
	return drained{}, false
}

func (d drained) String() string {
	s := d.Kind + " " + d.Name + " is drained"
	if !d.Until.IsZero() {
		s += " until " + moment(d.Until)
	}
	if d.Reason != "" {
		s += ": " + clean(d.Reason)
	}
	return s
}

// whyNot says why no tier of the route names a target for this stamp.
func whyNot(t *policy.Target, route *policy.CompiledRoute, stamp *policy.StampRules, byHand bool) string {
	switch {
	case t.Model != route.Model:
		return "serves " + t.Model
	case t.Version != route.Version:
		return fmt.Sprintf("has version %s, the route stands for %s", t.Version, route.Version)
	case t.SKU().Batch():
		return fmt.Sprintf("%s serves no online call", t.SKU())
	case byHand:
		return "the route's tiers are written by hand and do not name it for this stamp"
	case t.Region() != stamp.Region && !slices.Contains(stamp.Fallback, t.Region()):
		return fmt.Sprintf("%s is not among the fallback regions of the stamp", t.Region())
	}
	return "no tier names it"
}

func unknown(what, name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("the policy has no %s %q, nor any other", what, name)
	}
	return fmt.Errorf("the policy has no %s %q: it has %s", what, name, strings.Join(known, ", "))
}

func namesOf[T any](list []T, name func(T) string) []string {
	out := make([]string, 0, len(list))
	for _, v := range list {
		out = append(out, name(v))
	}
	return out
}

func (e *explanation) write(w io.Writer) {
	source := "a policy from a file"
	if e.Serial > 0 {
		source = "policy " + strconv.FormatUint(e.Serial, 10)
	}
	_, _ = fmt.Fprintf(w, "%s asks for %s (%s %s) in %s of boundary %s, by %s\n", e.Client, e.Route, e.Model, e.Version, e.Region, e.Boundary, source)
	if e.Refused != "" {
		_, _ = fmt.Fprintf(w, "refused: %s\n", e.Refused)
	}
	if len(e.Targets) > 0 {
		_, _ = fmt.Fprintln(w, "\ntried in this order; those of one tier as equals, by their weight")
		t := newTable("TIER", "BACKEND", "DEPLOYMENT", "REGION", "SKU", "WEIGHT", "USE")
		for _, o := range e.Targets {
			t.add(strconv.Itoa(o.Tier), o.Backend, o.Deployment, string(o.Region), orDash(string(o.SKU)),
				strconv.FormatFloat(o.Weight, 'g', 3, 64), useOf(o))
		}
		t.write(w)
	}
	if len(e.Excluded) > 0 {
		_, _ = fmt.Fprintln(w, "\nnot tried")
		t := newTable("BACKEND", "DEPLOYMENT", "REGION", "WHY")
		slices.SortStableFunc(e.Excluded, func(a, b excludedTarget) int { return cmp.Compare(a.Backend, b.Backend) })
		for _, x := range e.Excluded {
			t.add(x.Backend, x.Deployment, string(x.Region), x.Reason)
		}
		t.write(w)
	}
	for _, note := range e.Notes {
		_, _ = fmt.Fprintf(w, "\nnote: %s\n", note)
	}
	if e.Gateway != nil {
		writeGateway(w, e.Gateway)
	}
}

func useOf(o orderedTarget) string {
	switch {
	case o.Passive:
		return "when this region has nothing left"
	case o.Provisioned:
		return "first"
	}
	return "spillover"
}
