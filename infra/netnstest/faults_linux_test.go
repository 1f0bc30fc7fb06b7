package netnstest_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// What the kernel of this machine can do is shown case by case.
func TestWhatThisKernelCanDo(t *testing.T) {
	require(t)
	a := abilities()
	for _, c := range []struct {
		what string
		err  error
	}{
		{"delay by tc netem; without it tap devices in user space delay", a.delay},
		{"delay by tap devices", a.tap},
		{"loss by tc bpf and mirred", a.loss},
		{"a filter by protocol by tc u32 and mirred", a.protocols},
	} {
		t.Run(c.what, func(t *testing.T) {
			if c.err != nil {
				t.Skip(c.err)
			}
		})
	}
}

// P5: five gateways that start at once find each other; a 429 that one of them
// got gates the target at all; one that is killed is noticed, and is a member
// again after a restart.
func TestAStampAssembles(t *testing.T) {
	t.Parallel()
	s := startStamp(t, stampOptions{gateways: 5})
	t.Logf("5 gateways know each other after %v", awaitWhole(t, s.gateways))
	t.Logf("a 429 gates the target at 4 peers after %v", awaitGated(t, s.gateways, s.gateways[4].throttle(t)))

	killed, rest := s.gateways[1], slices.Delete(slices.Clone(s.gateways), 1, 2)
	killed.kill()
	t.Logf("kill -9 of a gateway is noticed by 4 peers after %v", awaitWhole(t, rest))
	killed.start()
	again := time.Now()
	t.Logf("after its restart all know each other after %v", awaitWhole(t, s.gateways))
	t.Logf("and it knows of the gate %v after its restart", awaitGated(t, s.gateways, again))
}

// A network that loses a quarter of all packets, TCP's as well, and is slow: the
// stamp assembles, news reach everyone, a crash is noticed.
func TestLossAndDelay(t *testing.T) {
	t.Parallel()
	const share, delay = 0.25, 50 * time.Millisecond
	s := startStamp(t, stampOptions{gateways: 4, delay: delay, before: func(s *stamp) { s.lose(share) }})
	s.checkDelay(delay)
	if !abilities().netem() {
		t.Log("delayed by tap devices in user space, as this kernel has no netem:", abilities().delay)
	}
	t.Logf("at %v loss and %v delay 4 gateways know each other after %v", share, delay, awaitWhole(t, s.gateways))
	t.Logf("a 429 gates the target at 3 peers after %v", awaitGated(t, s.gateways, s.gateways[3].throttle(t)))
	s.gateways[0].kill()
	t.Logf("kill -9 of a gateway is noticed by 3 peers after %v", awaitWhole(t, s.gateways[1:]))
	s.checkLoss(share)
}

// A network that loses a fifth of all packets kills nobody.
func TestLossKillsNobody(t *testing.T) {
	t.Parallel()
	const share, watched = 0.2, 25 * time.Second
	s := startStamp(t, stampOptions{gateways: 5})
	awaitWhole(t, s.gateways)
	before := lives(t, s.gateways)
	s.lose(share)
	hold(watched / 2)
	t.Logf("at %v loss a 429 gates the target at 4 peers after %v", share, awaitGated(t, s.gateways, s.gateways[0].throttle(t)))
	hold(watched / 2)
	noDeaths(t, s.gateways, before)
	s.checkLoss(share)
}

// healBound is what is promised after a partition; healSlack is a busy machine's.
const (
	healBound = 25 * time.Second
	healSlack = 15 * time.Second
)

// awaitHealed waits until the gateways know each other and says how long it took.
func awaitHealed(t *testing.T, what string, gateways []*node) {
	t.Helper()
	took := awaitWhole(t, gateways)
	t.Logf("%s: healed %v after the network returned", what, took)
	if took > healBound {
		t.Logf("the promise is %v: this machine is slow, or it is broken", healBound)
	}
	if took > healBound+healSlack {
		t.Errorf("%s: healed after %v, want at most %v", what, took, healBound+healSlack)
	}
}

// memberlist alone never heals a partition that is as long as that. What each
// side learned while it was alone reaches the other.
func TestAPartitionHeals(t *testing.T) {
	t.Parallel()
	for _, lost := range []time.Duration{25 * time.Second, 40 * time.Second} {
		t.Run(lost.String(), func(t *testing.T) {
			t.Parallel()
			s := startStamp(t, stampOptions{gateways: 5})
			awaitWhole(t, s.gateways)
			here, there := s.gateways[:3], s.gateways[3:] // the seeds are here
			over := time.NewTimer(lost)
			s.partition(there[0].port, there[1].port)
			t.Logf("the sides have given each other up after %v", max(awaitWhole(t, here), awaitWhole(t, there)))
			awaitGated(t, there, there[0].throttle(t))
			<-over.C
			if slices.ContainsFunc(here, (*node).gated) {
				t.Error("news crossed the partition: it is none")
			}
			s.heal(there[0].port, there[1].port)
			healed := time.Now()
			awaitHealed(t, fmt.Sprintf("a partition of %v", lost), s.gateways)
			t.Logf("what one side had learned gates at the other %v after the network returned", awaitGated(t, here, healed))
		})
	}
}

// Without UDP a gateway says that it limps. It stays a member, and its reports
// arrive.
func TestUDPBlocked(t *testing.T) {
	t.Parallel()
	s := startStamp(t, stampOptions{gateways: 3, before: func(s *stamp) { s.blockUDP() }})
	t.Logf("without UDP 3 gateways know each other after %v", awaitWhole(t, s.gateways))
	before := lives(t, s.gateways)
	blocked := func(want bool) func() bool {
		return func() bool {
			return all(s.gateways, func(g *node) bool { st, ok := g.status(); return ok && st.Gossip.UDPBlocked == want })
		}
	}
	t.Logf("all say so after %v", await(t, "status tells that UDP is blocked", blocked(true)))
	if s.blockedUDP() == 0 {
		t.Error("no UDP packet was stopped: the test has shown nothing")
	}
	t.Logf("a 429 gates the target at 2 peers after %v", awaitGated(t, s.gateways, s.gateways[2].throttle(t)))
	noDeaths(t, s.gateways, before)
	s.passUDP()
	t.Logf("with UDP again all say so after %v", await(t, "status tells that UDP passes", blocked(false)))
}

// A stamp that is told to do without UDP does not miss it.
func TestTCPOnly(t *testing.T) {
	t.Parallel()
	s := startStamp(t, stampOptions{gateways: 3, tcpOnly: true, before: func(s *stamp) { s.blockUDP() }})
	t.Logf("by TCP only 3 gateways know each other after %v", awaitWhole(t, s.gateways))
	before := lives(t, s.gateways)
	t.Logf("a 429 gates the target at 2 peers after %v", awaitGated(t, s.gateways, s.gateways[2].throttle(t)))
	hold(25 * time.Second) // longer than it takes to notice that UDP is blocked
	for _, g := range s.gateways {
		if st, ok := g.status(); !ok || st.Gossip.UDPBlocked || st.Gossip.Transport != "tcp" || st.Gossip.HealthScore != 0 {
			t.Errorf("%s: status %+v", g.name, st.Gossip)
		}
	}
	if n := s.blockedUDP(); n != 0 {
		t.Errorf("%d UDP packets were sent", n)
	}
	noDeaths(t, s.gateways, before)
	s.gateways[0].kill()
	t.Logf("kill -9 of a gateway is noticed by 2 peers after %v", awaitWhole(t, s.gateways[1:]))
}

// P7: a gateway whose link swallows everything while it serves hurts its own
// clients only, and is a member again when the link works.
func TestABlackholeHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	const dark = 30 * time.Second
	s := startStamp(t, stampOptions{gateways: 3})
	clients := s.plug()
	awaitWhole(t, s.gateways)
	lost, rest := s.gateways[2], s.gateways[:2]
	load := newLoad(t, s, clients)
	for _, g := range s.gateways {
		g.startBackend()
		load.send(g)
	}
	await(t, "every gateway serves", func() bool {
		return all(s.gateways, func(g *node) bool { return load.of(g).served >= 20 })
	})
	over := time.NewTimer(dark)
	lost.blackhole()
	t.Logf("its peers have given it up after %v", awaitWhole(t, rest))
	await(t, "the clients of the lost gateway notice", func() bool { return load.of(lost).failed > 0 })
	if n := lost.members(); n == 0 {
		t.Error("the lost gateway does not answer its own machine")
	}
	<-over.C
	served := load.of(lost).served
	s.heal(lost.port)
	awaitHealed(t, fmt.Sprintf("a blackhole of %v", dark), s.gateways)
	await(t, "the lost gateway serves again", func() bool { return load.of(lost).served > served+20 })
	load.stop()
	for _, g := range s.gateways {
		r := load.of(g)
		t.Logf("%s: %d requests served, %d failed, the slowest took %v", g.name, r.served, r.failed, r.slowest)
		if g != lost && r.failed != 0 {
			t.Errorf("%s: %d of %d requests failed, the first with %v", g.name, r.failed, r.failed+r.served, r.first)
		}
	}
}

// A load is clients on the network, one for each gateway, that send call after
// call.
type load struct {
	t       *testing.T
	stamp   *stamp
	clients *port
	done    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup

	mu      sync.Mutex
	results map[*node]result
}

type result struct {
	served, failed int
	slowest        time.Duration // of those served
	first          error         // that a client got
}

func newLoad(t *testing.T, s *stamp, clients *port) *load {
	l := &load{t: t, stamp: s, clients: clients, done: make(chan struct{}), results: map[*node]result{}}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.once.Do(func() { close(l.done) })
	l.wg.Wait()
}

func (l *load) of(g *node) result {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.results[g]
}

// send has a client send 20 calls a second to the gateway until stop.
func (l *load) send(g *node) {
	c := client(l.t, l.clients.namespace, 10*time.Second)
	ctx := l.t.Context()
	l.wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-l.done:
				return
			case <-tick.C:
			}
			begun := time.Now()
			code, _, err := chat(ctx, c, g.addr.String(), l.stamp.key)
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("status %d", code)
			}
			l.count(g, time.Since(begun), err)
		}
	})
}

func (l *load) count(g *node, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.results[g]
	if err != nil {
		r.failed++
		if r.first == nil {
			r.first = err
		}
	} else {
		r.served++
		r.slowest = max(r.slowest, took)
	}
	l.results[g] = r
}
