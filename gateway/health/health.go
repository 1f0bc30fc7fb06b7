// Package health decides what a gateway says of itself and of its stamp, and
// answers the five health paths.
//
// The Machine is a damped state machine, fed by the Watch every half second with
// what the gateway knows of its policy and its targets; the Handler serves what the
// Machine last showed, a prebuilt byte slice, and so asks nobody while it answers.
// Neither the store nor gossip is an input: their loss cannot change an answer. The
// package never sees a request's credential and never redirects. The gateway's
// wiring and its admin listener are its users.
package health

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/targets"
)

const (
	// Period is how often the gateway evaluates.
	Period = 500 * time.Millisecond
	// badToFall and goodToRise damp every answer but a drain's: with Period, a
	// fault shows within 1.5 s, and what only this gateway needs rises within 1 s.
	// What depends on backends rises later, see damper.
	badToFall  = 3
	goodToRise = 2
	// staleAfter is the age at which an evaluation is no longer believed: ten
	// periods, more than a garbage collection or a busy machine takes. Then the
	// loop that evaluates is stuck, and the gateway must not claim to be well.
	staleAfter = 10 * Period
)

// Status is what the health format calls status. The order is from bad to good.
type Status uint8

// The statuses. 200 exactly for Pass and Warn.
const (
	Fail Status = iota
	Warn
	Pass
)

// String returns the word of the health format.
func (s Status) String() string {
	switch s {
	case Pass:
		return "pass"
	case Warn:
		return "warn"
	default:
		return "fail"
	}
}

// Good reports whether the answer is 200.
func (s Status) Good() bool { return s != Fail }

// MarshalText returns the word of the health format.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Inputs is what one evaluation looks at.
type Inputs struct {
	// Now is the time of the evaluation.
	Now time.Time
	// PolicyLoaded: a policy is in force. How old it is does not matter.
	PolicyLoaded bool
	// Policy names the policy in force, such as by its digest. Another one begins
	// anew: what changes with it is no flapping.
	Policy string
	// CredentialsUsable: for at least one backend there is a credential.
	CredentialsUsable bool
	// Draining: this gateway takes no new work.
	Draining bool
	// RegionDrained: by order the global router shall move on. The stamp fails,
	// but the gateway still serves what arrives.
	RegionDrained bool
	// Routes are all routes of the policy. The slice is not kept.
	Routes []Route
	// SameRoutes: they are as at the last evaluation.
	SameRoutes bool
	// Choice is the policy's for this stamp.
	Choice policy.StampHealth
}

// A Route is one route's part of the inputs.
type Route struct {
	Name         string
	Required     bool // counts for the stamp
	Availability targets.Availability
}

// status judges a route by what is left for it.
func (r Route) status(choice policy.StampHealth) Status {
	var severity policy.Severity
	switch r.Availability {
	case targets.OwnAvailable:
		return Pass
	case targets.PassiveOnly:
		severity = choice.OnlyPassive
	case targets.AllThrottled:
		severity = choice.AllThrottled
	default:
		return Fail
	}
	if severity == policy.Fail {
		return Fail
	}
	return Warn // the default, too
}

// ready judges the gateway: should it get traffic?
func (in *Inputs) ready() Status {
	if in.PolicyLoaded && in.CredentialsUsable {
		return Pass
	}
	return Fail
}

// stamp judges the stamp: can it serve every required route?
func (in *Inputs) stamp() Status {
	worst := in.ready()
	for _, r := range in.Routes {
		if r.Required {
			worst = min(worst, r.status(in.Choice))
		}
	}
	return worst
}
