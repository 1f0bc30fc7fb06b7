package scorecard

import "strconv"

// A class of faults is one line of the card.
type class struct {
	name     string
	variants []variant
	// early: the fault is there before the first connection. Others come when
	// connections are pooled already.
	early bool
	// tls: the backends speak https.
	tls bool
	// regions: the faulty targets are the region's own, the others are in
	// another region.
	regions bool
}

// A variant is one fault in the simulator's short form.
type variant struct {
	fault string
	only  Mode // empty: both
	// midStream: when it strikes, the client has bytes of a stream already.
	midStream bool
}

// offsets at which an answer is cut.
const offsets = 20

// classes are all that is measured. The byte offsets depend on how long a
// healthy answer is, and which of them come before the first event that is
// passed on.
func classes(healthy reference, short bool) []class {
	one := func(name, fault string) class { return class{name: name, variants: []variant{{fault: fault}}} }
	many := func(name string, faults ...string) class {
		c := class{name: name}
		for _, f := range faults {
			c.variants = append(c.variants, variant{fault: f})
		}
		return c
	}
	// begun has a form that strikes before anything was passed on, and one after.
	begun := func(name, first, later string) class {
		return class{name: name, variants: []variant{{fault: first}, {fault: later, midStream: true}}}
	}
	return []class{
		one("connection refused", "refuse"),
		early(one("accepts, then silence", "hang-connect")),
		overTLS(one("accepts, silent to the TLS handshake", "hang-connect")),
		early(one("reset on connect", "reset-connect")),
		one("silence after the request", "hang"),
		one("reset before the header", "reset-before-header"),
		one("reset after the header", "reset-after-header"),
		resets(healthy, short),
		one("stall at the first byte", "stall-first-byte"),
		{name: "stall mid-stream", variants: []variant{{fault: "stall-mid-stream;3", midStream: true}}},
		many("429 with retry-after in seconds", "throttle;1", "throttle;20", "throttle;86400"),
		one("429 with retry-after-ms", "throttle;retry-after-ms=1500"),
		one("429 with retry-after as a date", "throttle;date:30s"),
		many("429 with x-ratelimit-reset-requests", "throttle;reset-requests=1s", "throttle;reset-requests=6m0s", "throttle;reset-requests=10"),
		many("429 with x-ratelimit-reset-tokens", "throttle;reset-tokens=1s", "throttle;reset-tokens=6m0s", "throttle;reset-tokens=10"),
		one("429 without any time", "throttle"),
		one("500", "status;500"),
		one("503", "status;503"),
		one("503 with a time", "status;503;retry-after=2"),
		{name: "error event in a 200", variants: []variant{{fault: "error-event", only: Stream}}},
		{name: "error event mid-stream", variants: []variant{{fault: "error-event;3", only: Stream, midStream: true}}},
		begun("malformed chunk", "malformed-chunk", "malformed-chunk;3"),
		many("malformed JSON", "malformed-json"),
		begun("truncated, ended in order", "truncated;right", "truncated;right;after=3"),
		begun("truncated, length wrong", "truncated;wrong", "truncated;wrong;after=3"),
		one("slow drip", "slow-drip;200us"),
		overTLS(many("wrong certificate", "wrong-certificate;other-name", "wrong-certificate;expired", "wrong-certificate;unknown-ca")),
		one("deployment gone", "deployment-gone"),
		many("identity revoked", "identity-revoked;401", "identity-revoked;403"),
		{name: "whole region dead", variants: []variant{{fault: "down"}}, regions: true},
		{name: "whole region answers 500", variants: []variant{{fault: "status;500"}}, regions: true},
		{name: "whole region silent", variants: []variant{{fault: "hang"}}, regions: true},
	}
}

func early(c class) class { c.early = true; return c }

func overTLS(c class) class { c.early, c.tls = true, true; return c }

// resets cuts the answer at offsets spread evenly over it. Offset 0 is a body of
// which nothing came.
func resets(healthy reference, short bool) class {
	c := class{name: "reset at " + strconv.Itoa(offsets) + " byte offsets"}
	step := 1
	if short {
		step = 4
		c.name = "reset at " + strconv.Itoa(offsets/step) + " byte offsets"
	}
	for n := 0; n < offsets; n += step {
		plain, stream := n*healthy.plainBytes/offsets, n*healthy.streamBytes/offsets
		c.variants = append(c.variants,
			variant{fault: "reset-after-bytes;" + strconv.Itoa(plain), only: Plain},
			variant{fault: "reset-after-bytes;" + strconv.Itoa(stream), only: Stream, midStream: stream >= healthy.opening})
	}
	return c
}
