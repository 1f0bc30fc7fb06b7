package stampview

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
)

// fakeStore keeps what is written, and tells what a test says.
type fakeStore struct {
	written []string
	err     error
	told    map[geo.RegionID][]byte
}

func (f *fakeStore) PutDigest(_ context.Context, b geo.Boundary, r geo.RegionID, payload json.RawMessage) error {
	f.written = append(f.written, string(b)+" "+string(r)+" "+string(payload))
	return f.err
}

func (f *fakeStore) WatchDigests(_ context.Context, _ geo.Boundary, tell func(geo.RegionID, json.RawMessage)) error {
	for region, payload := range f.told {
		tell(region, payload)
	}
	return nil
}

func digests(t *testing.T, store *fakeStore) *Digests {
	t.Helper()
	s := snapshot(t)
	d := &Digests{
		Boundary: "eu", Region: here, Gateway: "gw-1", Store: store, Registry: targets.New(here),
		Snapshot: func() *policy.Snapshot { return s }, Mine: func() bool { return true }, Log: zerolog.New(t.Output()),
	}
	d.Registry.Advance(s)
	return d
}

func TestADigestIsWrittenByWhoseJobItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &fakeStore{err: errors.New("away")}
		d := digests(t, store)
		var notMine atomic.Bool
		d.Mine = func() bool { return !notMine.Load() }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); d.Write(ctx) }()
		time.Sleep(3*digestPeriod + time.Millisecond)
		notMine.Store(true)
		time.Sleep(10 * digestPeriod)
		cancel()
		<-done
		want := `eu swedencentral {"version":1,"gateway":"gw-1","targets":[],"load":{"inFlight":0}}`
		if len(store.written) != 3 || slices.ContainsFunc(store.written, func(s string) bool { return s != want }) {
			t.Errorf("written %q, want three times %s", store.written, want)
		}
	})
}

// A stamp counts for the targets of its own region, and for nothing else: not for
// those of others, not for ours, and not for what no policy has.
func TestADigestCountsForItsOwnRegionAlone(t *testing.T) {
	const frc = "https://frc.openai.azure.com"
	text := []byte(`{"targets":[
		{"origin":"https://frc.openai.azure.com","deployment":"gpt-5.4","gateMs":3600000},
		{"origin":"https://swc-ptu.openai.azure.com","deployment":"gpt-5.4","gateMs":3600000},
		{"origin":"https://nowhere.example","deployment":"gpt-5.4","gateMs":3600000}]}`)
	const longest = 7_000_000_000 // ns: the life of a digest, and a second of jitter
	for name, c := range map[string]struct {
		told map[geo.RegionID][]byte
		want []string // origins held back
	}{
		"its own region":   {map[geo.RegionID][]byte{"francecentral": text}, []string{frc}},
		"another region":   {map[geo.RegionID][]byte{"westeurope": text}, nil},
		"our own":          {map[geo.RegionID][]byte{here: text}, nil},
		"one that ran out": {map[geo.RegionID][]byte{"francecentral": nil}, nil},
		"no digest":        {map[geo.RegionID][]byte{"francecentral": []byte(`[1]`)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := digests(t, &fakeStore{told: c.told})
			if err := d.Watch(t.Context()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range d.Registry.Status(time.Now()) {
				if s.Gate == 0 {
					continue
				}
				got = append(got, s.Key.Origin)
				if s.Gate > longest {
					t.Errorf("%v is held for %v, longer than a digest counts", s.Key, s.Gate)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("held back: %v, want %v", got, c.want)
			}
			d.Snapshot = func() *policy.Snapshot { return nil }
			if err := d.Watch(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A later build may have states of a breaker that this one does not know. Each but
// closed calls for caution: reading it as closed would end the caution there is.
func TestAnUnknownStateOfABreakerCallsForCaution(t *testing.T) {
	for word, want := range map[string]breaker.State{
		``: breaker.Closed, `,"breaker":""`: breaker.Closed, `,"breaker":"closed"`: breaker.Closed,
		`,"breaker":"open"`: breaker.Open, `,"breaker":"half-open"`: breaker.Open, `,"breaker":"forced"`: breaker.Open,
	} {
		got, err := decodeDigest([]byte(`{"targets":[{"origin":"https://a.example","deployment":"d"` + word + `}]}`))
		if err != nil || len(got) != 1 || got[0].Breaker != want {
			t.Errorf("%q is read as %+v, %v; want %v", word, got, err, want)
		}
	}
}
