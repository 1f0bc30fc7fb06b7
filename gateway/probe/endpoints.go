package probe

import (
	"container/heap"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// An endpoint is what is probed: one for each origin, however many deployments
// it has.
type endpoint struct {
	target *policy.Target // any of its deployments: a probe names none
	keys   []policy.Key
	known  time.Time // since when it is in a policy: before that it had no chance to be used
	due    time.Time
	failed int       // probes in a row
	lost   time.Time // when the last probe failed
}

// heard returns when the endpoint last answered a request, or failed to.
func (e *endpoint) heard(r Registry) time.Time {
	last := e.known
	for _, key := range e.keys {
		if at := r.Heard(key); at.After(last) {
			last = at
		}
	}
	return last
}

// endpointsOf returns the endpoints of the required routes of a region's stamp,
// by origin, without those that the policy wants left alone.
func endpointsOf(s *policy.Snapshot, region geo.RegionID) map[string]*endpoint {
	all := make(map[string]*endpoint)
	if s == nil {
		return all
	}
	seen := make(map[policy.Key]bool)
	for route := range s.RequiredRoutes() {
		for _, tier := range route.Tiers(region) {
			for _, t := range tier.Targets {
				if t.Probe == policy.ProbeOff || seen[t.Key] {
					continue
				}
				seen[t.Key] = true
				e := all[t.Key.Origin]
				if e == nil {
					e = &endpoint{target: t}
					all[t.Key.Origin] = e
				}
				e.keys = append(e.keys, t.Key)
			}
		}
	}
	return all
}

// A queue holds the endpoints that wait for their probe, the next one first.
type queue []*endpoint

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(*endpoint)) } //nolint:forcetypeassert // only endpoints are pushed

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

func (q *queue) add(e *endpoint, due time.Time) {
	e.due = due
	heap.Push(q, e)
}

func (q *queue) take() *endpoint { return heap.Pop(q).(*endpoint) } //nolint:forcetypeassert // only endpoints are pushed
