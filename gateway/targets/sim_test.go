package targets

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// A sim sends requests through a Registry in virtual time: the very code that a
// gateway runs, with events instead of goroutines. Arrivals are Poisson.
type sim struct {
	reg     *Registry
	route   *policy.CompiledRoute
	stamp   *policy.StampRules
	rng     *rand.Rand
	now     time.Time
	events  events
	seq     int
	answer  func(target int, now time.Time, client string) (time.Duration, Outcome)
	law     law
	look    time.Duration  // how often a request that waits looks again
	tokens  map[string]int // the size of a client's requests
	targets map[*policy.Target]int
	every   time.Duration       // of inspect
	inspect func(now time.Time) // called while the simulation runs

	requests, attempts, firsts int
	failedRetries              int // attempts beyond a request's first that failed and may have cost work
	firstOn, attemptsOn        []int
	served, failed             map[string]int // by client
	servedOn                   func(target int, now time.Time)
	verdicts                   map[bool]int // by AllThrottled
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

// A law is how long answers take, and whether they are streams, which begin after a
// tenth of it, or plain.
type law struct {
	name  string
	plain bool
	lasts func(rng *rand.Rand) time.Duration
}

// laws are what every simulation runs with. Answers of minutes are where gateways
// were found to fail: limits made for quick ones cut them, and a test of a target
// takes as long as any other request.
func laws() []law {
	long := func(rng *rand.Rand) time.Duration {
		return 5*time.Second + time.Duration(rng.Int64N(int64(115*time.Second)))
	}
	return []law{
		{name: "streams of 4 s", lasts: lognormal},
		{name: "streams of 5 to 120 s", lasts: long},
		{name: "plain answers of 5 to 120 s", plain: true, lasts: long},
	}
}

// lognormal has a mean of 4 s, σ = 0.5.
func lognormal(rng *rand.Rand) time.Duration {
	const mean, sigma = 4.0, 0.5
	took := math.Exp(math.Log(mean) - sigma*sigma/2 + sigma*rng.NormFloat64())
	return time.Duration(took * float64(time.Second))
}

func newSim(seed uint64, l law, tiers []policy.CompiledTier) *sim {
	s := &sim{
		law: l, look: 10 * time.Millisecond,
		reg: New(""), route: testRoute(), rng: rand.New(rand.NewPCG(seed, 99)),
		now: time.Now(), targets: make(map[*policy.Target]int),
		served: make(map[string]int), failed: make(map[string]int), verdicts: make(map[bool]int),
	}
	s.reg.addPlan(s.route, here, tiers)
	for _, t := range tiers {
		for _, target := range t.Targets {
			s.targets[target] = len(s.targets)
		}
	}
	s.firstOn, s.attemptsOn = make([]int, len(s.targets)), make([]int, len(s.targets))
	return s
}

func (s *sim) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.events, event{s.now.Add(d), s.seq, do})
}

// arrive has a client send requests at a mean rate, until the end.
func (s *sim) arrive(client string, perSecond float64, end time.Time) {
	s.after(time.Duration(s.rng.ExpFloat64()/perSecond*float64(time.Second)), func() {
		if s.now.After(end) {
			return
		}
		s.request(client)
		s.arrive(client, perSecond, end)
	})
}

func (s *sim) run(d time.Duration, clients map[string]float64) {
	end := s.now.Add(d)
	for _, c := range []string{"alice", "bob", "carol", "poison"} { // in a fixed order: runs repeat
		if rate := clients[c]; rate > 0 {
			s.arrive(c, rate, end)
		}
	}
	if s.inspect != nil {
		var look func()
		look = func() {
			s.inspect(s.now)
			if s.now.Before(end) {
				s.after(s.every, look)
			}
		}
		s.after(s.every, look)
	}
	for len(s.events) > 0 {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.do()
	}
}

func (s *sim) request(client string) {
	s.requests++
	sel := s.reg.Begin(Request{Route: s.route, Stamp: s.stamp, Region: here, Client: client, Stateless: true, Stream: !s.law.plain, Tokens: s.tokens[client], Deadline: s.now.Add(10 * time.Minute)})
	s.next(&sel, client, true)
}

func (s *sim) next(sel *Selection, client string, first bool) {
	ticket, ok := sel.Next(s.now, s.rng)
	if !ok {
		if w, wait := sel.Wait(s.now); wait {
			w.Done()
			s.after(min(w.After, s.look), func() { s.next(sel, client, first) })
			return
		}
		s.verdicts[sel.Verdict(s.now).AllThrottled]++
		s.failed[client]++
		return
	}
	i := s.targets[ticket.Target]
	s.attempts++
	s.attemptsOn[i]++
	if first {
		s.firsts++
		s.firstOn[i]++
	}
	took, o := s.answer(i, s.now, client)
	switch limit := ticket.FirstByte; {
	case s.law.plain && o.Kind == FirstByteTimeout: // it is not limited, but by all the time there is
		took, o = 10*time.Minute, Outcome{Kind: OutOfTime, Sent: true}
	case !s.law.plain && (o.Kind == FirstByteTimeout || o.FirstByte > limit):
		took, o = limit, Outcome{Kind: FirstByteTimeout, Sent: true}
	}
	if o.Kind == Success {
		s.after(min(o.FirstByte, took), func() { ticket.Answered(s.now, o.FirstByte) })
	}
	s.after(took, func() {
		ticket.Observe(s.now, o)
		if !first && o.Kind.failure() && !o.Kind.Free() {
			s.failedRetries++
		}
		switch {
		case o.Kind == Success:
			s.served[client]++
			if s.servedOn != nil {
				s.servedOn(i, s.now)
			}
		case sel.MayRetry(s.now, o):
			s.next(sel, client, false)
		default:
			s.failed[client]++
		}
	})
}

// service is an answer by the simulation's law.
func (s *sim) service() (time.Duration, Outcome) {
	d := s.law.lasts(s.rng)
	first := d / 10
	if s.law.plain {
		first = d
	}
	return d, Outcome{Kind: Success, FirstByte: first, Sent: true}
}

// refuses is a 429 after 10 ms that names 20 s.
func refuses() (time.Duration, Outcome) {
	return 10 * time.Millisecond, Outcome{Kind: Throttled, Signals: Signals{
		RetryAfter: 20 * time.Second, HasRetryAfter: true, RemainingRequests: -1, RemainingTokens: -1, Utilization: -1,
	}}
}

func breaks() (time.Duration, Outcome) {
	return 50 * time.Millisecond, Outcome{Kind: ServerError, Sent: true}
}
