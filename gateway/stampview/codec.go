package stampview

import (
	"errors"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/wire"
)

// The versions of a report that this build reads and writes. A new field needs no
// new version: builds that do not know it skip it.
const version1 = 1

// Channel is what membership has to register for reports.
func Channel() membership.ChannelVersions {
	return membership.ChannelVersions{Name: "targets", Versions: []uint64{version1}}
}

// Encode is what a gateway broadcasts of the report.
func (r Report) Encode() []byte {
	r, _ = r.normalise()
	return r.encode()
}

// encode writes a report as normalise leaves it: without parts that are out of
// bounds, and targets of which there is nothing to tell. It is the message of fields
//
//	1 serial of the policy, 2 health, 3 draining, 4 a target, any number of times:
//	    1 origin, missing where it is that of the target before, 2 deployment,
//	    3 gate in ms, 4 breaker (1 open, 2 half-open), 5 open for so many ms,
//	    6 requests in flight, 7 first byte in µs, 8 since the last success in ms
func (r Report) encode() []byte {
	b := make([]byte, 0, 64+len(r.Targets)*64)
	b = wire.AppendUint(b, 1, r.PolicySerial)
	b = wire.AppendBytes(b, 2, r.Health)
	if r.Draining {
		b = wire.AppendUint(b, 3, 1)
	}
	origin := ""
	var one []byte
	for _, t := range r.Targets {
		one = one[:0]
		if t.Key.Origin != origin {
			one = wire.AppendBytes(one, 1, t.Key.Origin)
		}
		origin = t.Key.Origin
		one = wire.AppendBytes(one, 2, t.Key.Deployment)
		one = wire.AppendUint(one, 3, uint64(t.Gate/time.Millisecond))
		one = wire.AppendUint(one, 4, breakerNumber(t.Breaker))
		one = wire.AppendUint(one, 5, uint64(t.BreakerFor/time.Millisecond))
		one = wire.AppendUint(one, 6, uint64(t.InFlight))
		one = wire.AppendUint(one, 7, uint64(t.FirstByte/time.Microsecond))
		one = wire.AppendUint(one, 8, uint64(t.SuccessAge/time.Millisecond))
		b = wire.AppendBytes(b, 4, one)
	}
	return b
}

func breakerNumber(s breaker.State) uint64 {
	switch s {
	case breaker.Open:
		return 1
	case breaker.HalfOpen:
		return 2
	case breaker.Closed:
	}
	return 0
}

func breakerState(n uint64) breaker.State {
	switch n {
	case 0:
		return breaker.Closed
	case 2:
		return breaker.HalfOpen
	}
	return breaker.Open // also what is unknown to us: the cautious reading
}

var (
	errVersion = errors.New("is of a version that this build does not read")
	errBounds  = errors.New("is beyond a bound, or not in order")
)

// Decode reads a peer's report. It skips fields that it does not know, cuts numbers
// to their bounds, and refuses more targets than there may be, or one target twice:
// nobody counts double.
func Decode(version uint64, b []byte) (Report, error) {
	if version != version1 {
		return Report{}, errVersion
	}
	var r Report
	for f, err := range wire.Fields(b) {
		if err != nil {
			return Report{}, err
		}
		switch f.ID {
		case 1:
			r.PolicySerial = f.Uint
		case 2:
			r.Health = string(f.Bytes[:min(len(f.Bytes), maxHealth)])
		case 3:
			r.Draining = f.Uint != 0
		case 4:
			var before targets.Report
			if n := len(r.Targets); n > 0 {
				before = r.Targets[n-1]
			}
			t, err := decodeTarget(f.Bytes, before)
			if err != nil {
				return Report{}, err
			}
			if len(r.Targets) == maxTargets {
				return Report{}, errBounds
			}
			r.Targets = append(r.Targets, t)
		}
	}
	return r, nil
}

func decodeTarget(b []byte, before targets.Report) (targets.Report, error) {
	var t targets.Report
	t.Key.Origin = before.Key.Origin
	for f, err := range wire.Fields(b) {
		if err != nil {
			return t, err
		}
		switch f.ID {
		case 1:
			t.Key.Origin = string(f.Bytes)
		case 2:
			t.Key.Deployment = string(f.Bytes)
		case 3:
			t.Gate = bounded(f.Uint, time.Millisecond, maxWait)
		case 4:
			t.Breaker = breakerState(f.Uint)
		case 5:
			t.BreakerFor = bounded(f.Uint, time.Millisecond, maxWait)
		case 6:
			t.InFlight = int(min(f.Uint, maxInFlight))
		case 7:
			t.FirstByte = bounded(f.Uint, time.Microsecond, maxFirstByte)
		case 8:
			t.SuccessAge = bounded(f.Uint, time.Millisecond, maxWait)
		}
	}
	if t.Key.Origin == "" || len(t.Key.Origin) > maxOrigin || len(t.Key.Deployment) > maxDeployment || before.Compare(t) >= 0 {
		return t, errBounds
	}
	return t, nil
}

// bounded is a number of units, at most limit.
func bounded(n uint64, unit, limit time.Duration) time.Duration {
	return time.Duration(min(n, uint64(limit/unit))) * unit
}
