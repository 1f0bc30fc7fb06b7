package targets

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/throttle"
)

// A world is a registry with one route, and a clock that tests turn.
type world struct {
	t     *testing.T
	reg   *Registry
	route *policy.CompiledRoute
	stamp *policy.StampRules
	tiers []policy.CompiledTier
	now   time.Time
	rng   *rand.Rand
}

func newWorld(t *testing.T, counts ...int) *world {
	t.Helper()
	w := &world{
		t: t, reg: New(""), route: testRoute(), tiers: tiersOf(counts...), now: time.Now(),
		stamp: &policy.StampRules{Region: here}, rng: rand.New(rand.NewPCG(3, 4)),
	}
	w.reg.addPlan(w.route, here, w.tiers)
	return w
}

// passive makes the tiers from the given one on passive.
func (w *world) passive(from int) *world {
	for i := from; i < len(w.tiers); i++ {
		w.tiers[i].Passive = true
	}
	w.reg = New("")
	w.reg.addPlan(w.route, here, w.tiers)
	return w
}

func (w *world) sleep(d time.Duration) { w.now = w.now.Add(d) }

func (w *world) request(client string) Request {
	return Request{Route: w.route, Stamp: w.stamp, Region: here, Client: client, Stateless: true}
}

func (w *world) begin(client string) *Selection {
	return new(w.reg.Begin(w.request(client)))
}

func (w *world) next(s *Selection) *Ticket {
	w.t.Helper()
	ticket, ok := s.Next(w.now, w.rng)
	if !ok {
		w.t.Fatal("nothing left")
	}
	return &ticket
}

// call makes one attempt by a client, which ends as given, and returns where.
func (w *world) call(client string, o Outcome) *policy.Target {
	w.t.Helper()
	ticket := w.next(w.begin(client))
	ticket.Observe(w.now, o)
	return ticket.Target
}

func (w *world) state(tier, i int) *state {
	return w.reg.view.Load().states[w.tiers[tier].Targets[i].Key]
}

// gate closes a target's gate for so long.
func (w *world) gate(tier, i int, d time.Duration) {
	st := w.state(tier, i)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gate.Refuse(w.now, throttle.Signals{RetryAfter: d, HasRetryAfter: true}, 0)
	st.copyOut(w.now)
}

// eject opens a target's breaker by five connect failures.
func (w *world) eject(tier, i int) {
	w.t.Helper()
	st := w.state(tier, i)
	for range 5 {
		got, ok := st.admit(w.now, admission{client: 1})
		if !ok {
			w.t.Fatal("not admitted")
		}
		ticket := Ticket{reg: w.reg, state: st, plan: new(plan), admitted: got, started: w.now, answered: true}
		ticket.Observe(w.now, Outcome{Kind: ConnectFailed})
	}
	if st.outUntil.Load() == never {
		w.t.Fatal("five connect failures did not open the breaker")
	}
}

// told has a target answer each of the clients in this way.
func (w *world) told(tier, i int, o Outcome, clients ...string) {
	w.t.Helper()
	for _, client := range clients {
		s := w.begin(client)
		s.look(w.now)
		ticket, ok := s.take(tier, i, admission{})
		if !ok {
			w.t.Fatalf("%s is not admitted", client)
		}
		ticket.Observe(w.now, o)
	}
}

func throttled(d time.Duration) Outcome {
	return Outcome{Kind: Throttled, Signals: Signals{
		RetryAfter: d, HasRetryAfter: true, RemainingRequests: -1, RemainingTokens: -1, Utilization: -1,
	}}
}

var (
	worked = Outcome{Kind: Success, FirstByte: time.Second, Sent: true}
	broke  = Outcome{Kind: ServerError, Sent: true}
)
