package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/geo"
)

// aName is what passes as a name of a boundary, gateway, order or region.
func aName() *rapid.Generator[string] {
	return rapid.StringMatching(`[A-Za-z0-9._-]{1,30}`).Filter(func(s string) bool { return strings.Trim(s, ".") != "" })
}

// A name that passes is one piece of a key: it can neither leave its place nor
// be taken for another.
func TestANameThatPassesIsOnePieceOfAKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z./ \x00-]{0,210}`), aName()).Draw(t, "name")
		err := CheckName("thing", name)
		if err == nil {
			if strings.ContainsAny(name, "/\x00 \n") || name == "." || name == ".." || len(name) > 200 {
				t.Fatalf("%q passes", name)
			}
			return
		}
		if _, ok := errors.AsType[*InvalidError](err); !ok || strings.ContainsAny(err.Error(), "\n\r\x1b") || len(err.Error()) > 400 {
			t.Fatalf("%q: %T %q", name, err, err)
		}
	})
}

// No two things have one key, also not things of two boundaries.
func TestKeysOfDifferentThingsDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := geo.Boundary(aName().Draw(t, "boundary"))
		one, two, serial := aName().Draw(t, "one"), aName().Draw(t, "two"), rapid.Uint64().Draw(t, "serial")
		k := keysOf(b)
		seen := map[string]string{}
		for what, key := range map[string]string{
			"current": k.current(), "history": k.historyOf(serial), "order": k.order(one), "presence": k.presenceOf(geo.RegionID(one), two),
			"digest": k.digest(geo.RegionID(one)), "audit": k.auditOf(1, one),
		} {
			if before, again := seen[key]; again {
				t.Fatalf("%s and %s have the key %s", what, before, key)
			}
			seen[key] = what
			other := keysOf(b + "x")
			if !strings.HasPrefix(key, "/stampgate/"+string(b)+"/") || strings.HasPrefix(key, other.prefix) {
				t.Fatalf("%s has the key %s, in boundary %s", what, key, b)
			}
		}
		// What a gateway follows is its boundary's orders and the current policy:
		// all of them, and nothing else.
		from, to := k.followed()
		for key, want := range map[string]bool{
			k.order(one): true, k.order(two): true, k.current(): true, k.historyOf(serial): false, k.digest(geo.RegionID(one)): false,
			k.presenceOf(geo.RegionID(one), two): false, k.auditOf(1, one): false, keysOf(b + "0").current(): false, keysOf(b + "0").order(one): false,
		} {
			if got := from <= key && key < to; got != want {
				t.Fatalf("%s is followed: %v, want %v", key, got, want)
			}
		}
	})
}

// Waits grow, stay below their bound, and are never none: a fleet neither waits
// for ever nor comes back in step.
func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Minute)).Draw(t, "most"))
		s := &Store{timing: Timing{BackoffMax: most}.withDefaults()}
		try := rapid.IntRange(1, 1000).Draw(t, "try")
		full := most
		if try < 20 {
			full = min(backoffFirst<<(try-1), most)
		}
		if got := s.backoff(try); got < full/2 || got > full {
			t.Fatalf("try %d: %v, want %v to %v", try, got, full/2, full)
		}
	})
}

func TestACallIsRepeatedOnlyWhereThatMayHelp(t *testing.T) {
	gone, refused := status.Error(codes.Unavailable, "gone"), status.Error(codes.PermissionDenied, "refused")
	for name, c := range map[string]struct {
		answers []error
		calls   int
		err     error
	}{
		"at once":                  {[]error{nil}, 1, nil},
		"the second time":          {[]error{gone, nil}, 2, nil},
		"the last time":            {[]error{gone, gone, nil}, 3, nil},
		"never":                    {[]error{gone, gone, gone, nil}, 3, gone},
		"what does not pass":       {[]error{refused, nil}, 1, refused},
		"what passes, then not":    {[]error{gone, refused, nil}, 2, refused},
		"a call that was too slow": {[]error{context.DeadlineExceeded, nil}, 2, nil},
		"a caller who has gone":    {[]error{context.Canceled, nil}, 1, context.Canceled},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &Store{timing: Timing{}.withDefaults()}
			calls := 0
			err := s.repeat(t.Context(), func(context.Context) error { calls++; return c.answers[calls-1] })
			if calls != c.calls || !errors.Is(err, c.err) {
				t.Errorf("%s: %d calls, %v; want %d, %v", name, calls, err, c.calls, c.err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // every try has a limit of its own, and the caller's is above all
		s := &Store{timing: Timing{Request: time.Second}.withDefaults()}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		began, calls := time.Now(), 0
		err := s.repeat(ctx, func(ctx context.Context) error { calls++; <-ctx.Done(); return ctx.Err() })
		if took := time.Since(began); calls != 2 || took != 1500*time.Millisecond || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d calls in %v, %v", calls, took, err)
		}
	})
}

// Errors that pass become an *UnavailableError; all others stay what they are.
func TestErrorsOfEtcdAreToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		away bool
	}{
		"no connection":        {status.Error(codes.Unavailable, "x"), true},
		"too slow":             {status.Error(codes.DeadlineExceeded, "x"), true},
		"our own deadline":     {context.DeadlineExceeded, true},
		"too much at once":     {rpctypes.ErrTooManyRequests, true},
		"no leader":            {rpctypes.ErrNoLeader, true},
		"a leader that left":   {rpctypes.ErrLeaderChanged, true},
		"its disk is full":     {rpctypes.ErrNoSpace, true},
		"no endpoint":          {clientv3.ErrNoAvailableEndpoints, true},
		"wrapped":              {fmt.Errorf("put: %w", rpctypes.ErrNoLeader), true},
		"no permission":        {rpctypes.ErrPermissionDenied, false},
		"a token that ran out": {rpctypes.ErrInvalidAuthToken, false},
		"compacted":            {rpctypes.ErrCompacted, false},
		"too large":            {rpctypes.ErrRequestTooLarge, false},
		"the caller has gone":  {context.Canceled, false},
		"something else":       {errors.New("x"), false},
	} {
		got := unavailable("read", c.err)
		_, away := errors.AsType[*UnavailableError](got)
		if away != c.away || !errors.Is(got, c.err) || !strings.HasPrefix(got.Error(), "read: ") {
			t.Errorf("%s: %T %v, away: %v", name, got, got, c.away)
		}
	}
	if err := unavailable("read", nil); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}

func TestAProblemIsALineThatEnds(t *testing.T) {
	var p problem
	if p.String() != "" {
		t.Errorf("before any: %q", p.String())
	}
	p.set(errors.New(strings.Repeat("x", 10_000)))
	if n := len(p.String()); n > problemBytes+len("…") {
		t.Errorf("%d bytes are kept", n)
	}
	if p.set(nil); p.String() != "" {
		t.Errorf("after it has passed: %q", p.String())
	}
}
