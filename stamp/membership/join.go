package membership

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	rejoinEvery   = 15 * time.Second
	joinsAtOnce   = 8
	joinsPerRound = 64
	// joinedLately is how long a successful join of an address that is still no
	// member, such as one that is translated, counts for nothing.
	joinedLately = time.Minute
)

// A joiner looks for members that we do not have, so that any partition heals:
// memberlist itself forgets a peer that was away for half a minute.
type joiner struct {
	*Membership
	list    *memberlist.Memberlist
	own     func(netip.AddrPort) bool    // is this address ours
	lately  map[netip.AddrPort]time.Time // when an address was last joined
	failing map[string]bool              // what has been complained of and still fails
}

func newJoiner(m *Membership, list *memberlist.Memberlist, own func(netip.AddrPort) bool) *joiner {
	return &joiner{m, list, own, make(map[netip.AddrPort]time.Time), make(map[string]bool)}
}

// run looks at once after boot, often while there is progress, else every 15 s.
func (j *joiner) run(ctx context.Context) {
	soon := time.Second // the next pause, doubled up to rejoinEvery
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if j.round(ctx) {
			soon = time.Second
		} else if soon < rejoinEvery {
			j.exchange()
		}
		j.complain("gossip peers not saved", j.peers.save(time.Now()))
		j.watchUDP()
		pause := min(soon, rejoinEvery)
		soon = min(2*soon, rejoinEvery)
		// A fifth to and fro, so that gateways that started together spread.
		timer.Reset(pause*4/5 + rand.N(pause*2/5))
	}
}

// round tries each known address that is not a live member's. It returns
// whether it reached one that it had not reached lately.
func (j *joiner) round(ctx context.Context) bool {
	v := j.View()
	now := time.Now()
	known := j.peers.addrs(v.Members, v.Self.Name, now)
	for _, s := range j.seeds {
		addrs, err := s.resolve(ctx, j.cfg.Resolver)
		if ctx.Err() != nil {
			return false
		}
		j.complain("gossip seed "+s.text+" not found", err)
		known = append(known, addrs...)
	}
	try := candidates(known, v.Members, j.own, joinsPerRound, func(a []netip.AddrPort) {
		rand.Shuffle(len(a), func(i, k int) { a[i], a[k] = a[k], a[i] })
	})
	reached := j.joinAll(ctx, try)
	for a, at := range j.lately {
		if now.Sub(at) > joinedLately {
			delete(j.lately, a)
		}
	}
	progress := false
	for _, a := range reached {
		if _, ok := j.lately[a]; !ok {
			progress = true
			j.lately[a] = now
		}
	}
	return progress
}

// joinAll dials a few at a time: a dead one takes up to streamTimeout.
func (j *joiner) joinAll(ctx context.Context, try []netip.AddrPort) []netip.AddrPort {
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex // guards reached
		reached []netip.AddrPort
		work    = make(chan netip.AddrPort)
	)
	for range min(joinsAtOnce, len(try)) {
		wg.Go(func() {
			for a := range work {
				if j.join(a.String()) {
					mu.Lock()
					reached = append(reached, a)
					mu.Unlock()
				}
			}
		})
	}
	for _, a := range try {
		if ctx.Err() != nil {
			break
		}
		work <- a
	}
	close(work)
	wg.Wait()
	return reached
}

func (j *joiner) join(addr string) bool {
	_, err := j.list.Join([]string{addr})
	result := "ok"
	if err != nil {
		result = "failed"
		j.log.Debug().Err(err).Str("addr", addr).Msg("gossip peer not joined")
	}
	j.metrics.joined.WithLabelValues(result).Inc()
	return err == nil
}

// exchange compares all that is known with one random member. Gateways that
// start together miss some of each other, since a stamp of up to nine repeats
// its news only four times; memberlist's own exchange comes after half a minute.
func (j *joiner) exchange() {
	for _, n := range j.broadcaster.some(1) {
		j.join(n.Address())
	}
}

// complain logs a fault when it appears and when it is gone, not each time.
func (j *joiner) complain(what string, err error) {
	switch {
	case err != nil && !j.failing[what]:
		j.log.Warn().Err(err).Msg(what)
		j.failing[what] = true
	case err == nil && j.failing[what]:
		j.log.Info().Str("what", what).Msg("gossip fault is gone")
		delete(j.failing, what)
	}
}

func (j *joiner) watchUDP() {
	var err error
	if j.udpBlocked(time.Now()) {
		err = errNoUDP
	}
	j.complain("gossip limps without UDP: let it through between gateways, or set tcpOnly on all of them", err)
}
