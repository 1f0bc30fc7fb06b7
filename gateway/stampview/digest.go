package stampview

import (
	"context"
	"encoding/json"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

const (
	// digestPeriod is how often a stamp's digest is written.
	digestPeriod = 2 * time.Second
	// digestLife is how long another stamp's digest is believed: three periods,
	// so that one late write changes nothing.
	digestLife = 3 * digestPeriod
	// digestTargets bounds what is read of a digest, which anybody with access to
	// the boundary's etcd could have written.
	digestTargets = 2048
)

// digest is what a stamp tells of its own region's targets to the stamps that may
// fall back to it. It is JSON, which the control plane shows as it is; readers skip
// fields that they do not know. Waits are remaining times: no clocks are compared.
type digest struct {
	Version int            `json:"version"`
	Gateway string         `json:"gateway"`
	Targets []digestTarget `json:"targets"` // those that call for caution
	Load    digestLoad     `json:"load"`
}

const digestVersion = 1

// digestTarget is what a digest has of a targets.Report, in its names and units.
type digestTarget struct {
	Origin     string `json:"origin"`
	Deployment string `json:"deployment"`
	GateMS     int64  `json:"gateMs,omitempty"`
	Breaker    string `json:"breaker,omitempty"`
}

// digestLoad is for status alone.
type digestLoad struct {
	InFlight int `json:"inFlight"`
}

// encodeDigest writes what is known of a region.
func encodeDigest(gateway string, known *targets.Cautions) (json.RawMessage, error) {
	d := digest{Version: digestVersion, Gateway: gateway, Targets: []digestTarget{}, Load: digestLoad{known.InFlight}}
	for _, t := range known.Targets {
		out := digestTarget{Origin: t.Key.Origin, Deployment: t.Key.Deployment, GateMS: t.Gate.Milliseconds()}
		if t.Breaker != breaker.Closed {
			out.Breaker = t.Breaker.String()
		}
		d.Targets = append(d.Targets, out)
	}
	return json.Marshal(d)
}

// decodeDigest reads a digest of this or of a later version. A breaker's state that
// it does not know calls for caution, as every state but closed does.
func decodeDigest(payload json.RawMessage) ([]targets.Report, error) {
	var d digest
	if err := json.Unmarshal(payload, &d); err != nil {
		return nil, err
	}
	var out []targets.Report
	for _, t := range d.Targets[:min(len(d.Targets), digestTargets)] {
		r := targets.Report{
			Key:  policy.Key{Origin: t.Origin, Deployment: t.Deployment},
			Gate: bounded(uint64(max(t.GateMS, 0)), time.Millisecond, maxWait),
		}
		if t.Breaker != "" && t.Breaker != breaker.Closed.String() {
			r.Breaker = breaker.Open
		}
		out = append(out, r)
	}
	return out, nil
}

// A DigestStore carries digests between the stamps of a boundary.
type DigestStore interface {
	// PutDigest replaces what a stamp tells; it runs out unless written again.
	PutDigest(ctx context.Context, boundary geo.Boundary, region geo.RegionID, payload json.RawMessage) error
	// WatchDigests calls f with each digest of the boundary, and with nil when one
	// runs out, until ctx ends; its error is then nil.
	WatchDigests(ctx context.Context, boundary geo.Boundary, f func(region geo.RegionID, payload json.RawMessage)) error
}

// Digests writes the digest of a gateway's stamp and reads those of others.
type Digests struct {
	Boundary geo.Boundary
	Region   geo.RegionID
	Gateway  string
	Store    DigestStore
	Registry *targets.Registry
	Snapshot func() *policy.Snapshot // nil while none is in force
	// Mine reports whether this gateway is the one of its stamp that writes now. All
	// members agree on who that is; where they do not, or there is no gossip, several
	// write, each what it knows.
	Mine func() bool
	Log  zerolog.Logger
}

// Write writes the stamp's digest each period while that is this gateway's job. It
// runs beside the requests and never holds one up.
func (d *Digests) Write(ctx context.Context) {
	tick := time.NewTicker(digestPeriod)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !d.Mine() {
			continue
		}
		payload, err := d.own(time.Now())
		if err == nil {
			err = d.Store.PutDigest(ctx, d.Boundary, d.Region, payload)
		}
		if err != nil && !failing && ctx.Err() == nil {
			d.Log.Warn().Err(telemetry.Foreign(err)).Msg("the stamp's digest is not written: other stamps learn by their own first attempt")
		}
		failing = err != nil
	}
}

// own sums up what the stamp knows: this gateway's evidence and its peers'.
func (d *Digests) own(now time.Time) (json.RawMessage, error) {
	return encodeDigest(d.Gateway, d.Registry.Cautions(now, d.Region))
}

// Watch takes in what other stamps tell of their regions, until ctx ends. It can
// only add caution, and ends by itself when the other stamp falls silent.
func (d *Digests) Watch(ctx context.Context) error {
	return d.Store.WatchDigests(ctx, d.Boundary, func(region geo.RegionID, payload json.RawMessage) {
		if region == d.Region || payload == nil {
			return
		}
		reports, err := decodeDigest(payload)
		if err != nil {
			d.Log.Warn().Err(telemetry.Foreign(err)).Str("of", string(region)).Msg("digest not understood")
			return
		}
		d.Registry.ApplyHint(time.Now(), d.within(region, reports), digestLife)
	})
}

// within keeps the targets of a region: a stamp counts for its own region alone.
func (d *Digests) within(region geo.RegionID, all []targets.Report) []targets.Report {
	s := d.Snapshot()
	if s == nil {
		return nil
	}
	var out []targets.Report
	for _, r := range all {
		if known, ok := s.Target(r.Key); ok && known.Region() == region {
			out = append(out, r)
		}
	}
	return out
}
