package upstream_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stampgate/stampgate/gateway/upstream"
)

// A street is a network inside a bubble: what each address does with a dial.
type street struct {
	start time.Time
	doors map[string]door

	mu      sync.Mutex // guards what follows
	tried   []knock
	opened  int
	closed  int
	pending int
}

// A door answers after a while, refuses, or is silent until the dialler gives up.
type door struct {
	after  time.Duration
	err    error
	silent bool
}

type knock struct {
	address string
	after   time.Duration
}

func (s *street) connect(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	s.mu.Lock()
	s.tried = append(s.tried, knock{a.Addr().String(), time.Since(s.start)})
	s.pending++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.pending--
		s.mu.Unlock()
	}()
	d := s.doors[a.Addr().String()]
	if d.silent {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(d.after) // deliberately deaf: a connection may come when it is no longer wanted
	if d.err != nil {
		return nil, d.err
	}
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	s.mu.Lock()
	s.opened++
	s.mu.Unlock()
	return &counted{Conn: ours, street: s}, nil
}

type counted struct {
	net.Conn
	street *street
	once   sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.street.mu.Lock()
		c.street.closed++
		c.street.mu.Unlock()
	})
	return c.Conn.Close()
}

// A name with several addresses: one that swallows packets holds the next one up
// for 250 ms, one that refuses not at all; the first connection wins, and all of
// it stays within the connect timeout.
func TestTheNextAddressStartsAfter250Milliseconds(t *testing.T) {
	const a, b, c = "127.0.0.4", "127.0.0.5", "127.0.0.6"
	refused := errors.New("refused")
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for name, tt := range map[string]struct {
		doors  map[string]door
		tried  []knock
		took   time.Duration
		opened int
		fails  bool
	}{
		"the first swallows packets": {
			doors: map[string]door{a: {silent: true}, b: {after: ms(10)}},
			tried: []knock{{a, 0}, {b, ms(250)}}, took: ms(260), opened: 1,
		},
		"two of three swallow packets": {
			doors: map[string]door{a: {silent: true}, b: {silent: true}, c: {after: ms(10)}},
			tried: []knock{{a, 0}, {b, ms(250)}, {c, ms(500)}}, took: ms(510), opened: 1,
		},
		"the first refuses at once": {
			doors: map[string]door{a: {err: refused}, b: {silent: true}, c: {after: ms(10)}},
			tried: []knock{{a, 0}, {b, 0}, {c, ms(250)}}, took: ms(260), opened: 1,
		},
		"the first is slow and wins yet": {
			doors: map[string]door{a: {after: ms(300)}, b: {after: ms(200)}},
			// The loser's connection comes at 450 ms and is closed.
			tried: []knock{{a, 0}, {b, ms(250)}}, took: ms(450), opened: 2,
		},
		"all refuse": {
			doors: map[string]door{a: {err: refused}, b: {err: refused}, c: {after: ms(20), err: refused}},
			tried: []knock{{a, 0}, {b, 0}, {c, 0}}, took: ms(20), fails: true,
		},
		"all swallow packets": {
			doors: map[string]door{a: {silent: true}, b: {silent: true}, c: {silent: true}},
			tried: []knock{{a, 0}, {b, ms(250)}, {c, ms(500)}}, took: time.Second, fails: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				names := addresses(a, b)
				if len(tt.doors) == 3 {
					names = addresses(a, b, c)
				}
				st := &street{start: time.Now(), doors: tt.doors}
				target := admitted{endpoint: "http://localhost:80"}.target(t).Target
				d := upstream.Dialer{Boundary: "eu", Resolver: names, Connect: st.connect}
				conn, err := d.Dial(t.Context(), target, time.Second)
				took := time.Since(st.start)
				if (err != nil) != tt.fails || took != tt.took || !slices.Equal(st.tried, tt.tried) {
					t.Errorf("error %v after %v, tried %v; want failure %t after %v, tried %v", err, took, st.tried, tt.fails, tt.took, tt.tried)
				}
				if conn != nil {
					_ = conn.Close()
				}
				if st.opened != tt.opened || st.closed != tt.opened || st.pending != 0 {
					t.Errorf("%d connections came, %d are closed, %d dials go on; want %d, all closed, none", st.opened, st.closed, st.pending, tt.opened)
				}
			})
		})
	}
}

// P1: that another address is tried beside the first one changes nothing about
// the fence: one foreign address among three, wherever it stands, dials none.
func TestP1OneForeignAddressOfThreeDialsNone(t *testing.T) {
	for _, names := range []liar{
		addresses("10.30.0.4", "10.20.0.5", "10.20.0.6"),
		addresses("10.20.0.4", "10.30.0.5", "10.20.0.6"),
		addresses("10.20.0.4", "10.20.0.5", "10.30.0.6"),
	} {
		var d trap
		err := private().dial(t, upstream.Dialer{Resolver: names, Connect: d.connect})
		if places := d.dialled(); len(places) != 0 || err == nil {
			t.Errorf("of %v dialled %v, %v", names, places, err)
		}
	}
}
