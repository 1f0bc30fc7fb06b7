package scorecard

import (
	"strconv"
	"strings"
)

// A class of faults is one line of the card.
type class struct {
	name     string
	variants []variant
	modes    []Mode // default: plain and stream
	faulty   []int  // how many targets are; default: one, then two
	// early: the fault is there before the first connection. Others come when
	// connections are pooled already.
	early bool
	// tls: the backends speak https.
	tls bool
	// regions: the faulty targets are the region's own, the others are in
	// another region.
	regions bool
	// back: it is measured how soon targets are used again once the fault is over.
	back bool
	// crowded: so many ask at once, and healthy answers take so long, that a target
	// which refuses at once is nearly always free.
	crowded bool
	// few: each request that is struck takes seconds, so fewer are sent.
	few bool
}

// A variant is one fault in the simulator's short form, and the right answer to
// a request that it strikes.
type variant struct {
	fault string
	only  Mode // empty: all of the class
	// midStream: when it strikes, the client has bytes of a stream already.
	midStream bool
	right     Right // empty: complete
	// once: no request may cost more than one attempt.
	once bool
}

// offsets at which an answer is cut.
const offsets = 20

// classes are all that is measured: each row of the table of what an answer
// means. The byte offsets depend on how long a healthy answer is, and which of
// them come before the first event that is passed on.
func classes(healthy reference, short bool) []class {
	var all []class
	all = append(all, connectionClasses()...)
	all = append(all, brokenClasses(healthy, short)...)
	all = append(all, throttleClasses()...)
	all = append(all, backendClasses()...)
	all = append(all, clientClasses()...)
	all = append(all, crowdedClasses()...)
	all = append(all, oddClasses()...)
	all = append(all, regionClasses()...)
	return append(all, sessionClasses()...)
}

func one(name, fault string) class { return class{name: name, variants: faults(fault)} }

// many has a variant for each word of its faults.
func many(name, list string) class {
	return class{name: name, variants: faults(strings.Fields(list)...)}
}

func faults(list ...string) []variant {
	var out []variant
	for _, f := range list {
		out = append(out, variant{fault: f})
	}
	return out
}

// silent is not repeated for plain answers, whose work may go on; a stream that
// does not begin is asked for elsewhere.
func silent(name, fault string) class {
	return class{name: name, few: true, variants: []variant{
		{fault: fault, only: Plain, right: NotRepeated, once: true}, {fault: fault, only: Stream},
	}}
}

// begun has a form that strikes before anything was passed on, and one after.
func begun(name, first, later string) class {
	return class{name: name, variants: []variant{{fault: first}, {fault: later, midStream: true}}}
}

func early(c class) class { c.early = true; return c }

func overTLS(c class) class { c.early, c.tls = true, true; return c }

func back(c class) class { c.back = true; return c }

// of says how many targets are faulty.
func of(faulty []int, c class) class { c.faulty = faulty; return c }

// rightly gives all variants the same right answer, which costs one attempt; but a
// 410 is known to be right only when every target has said it.
func rightly(r Right, c class) class {
	for n := range c.variants {
		c.variants[n].right, c.variants[n].once = r, r != Retired
	}
	return c
}

func connectionClasses() []class {
	return []class{
		back(one("connection refused", "refuse")),
		early(silent("accepts, then silence", "hang-connect")),
		overTLS(one("accepts, silent to the TLS handshake", "hang-connect")),
		early(one("reset on connect", "reset-connect")),
		overTLS(many("wrong certificate", "wrong-certificate;other-name wrong-certificate;expired wrong-certificate;unknown-ca")),
		back(silent("silence after the request", "hang")),
	}
}

func brokenClasses(healthy reference, short bool) []class {
	return []class{
		many("reset before, or after, the header", "reset-before-header reset-after-header"),
		resets(healthy, short),
		silent("stall at the first byte", "stall-first-byte"),
		{name: "stall mid-stream", variants: []variant{{fault: "stall-mid-stream;3", midStream: true}}},
		{name: "error event mid-stream", variants: []variant{{fault: "error-event;3", only: Stream, midStream: true}}},
		begun("malformed chunk", "malformed-chunk", "malformed-chunk;3"),
		one("malformed JSON", "malformed-json"),
		begun("truncated, ended in order", "truncated;right", "truncated;right;after=3"),
		begun("truncated, length wrong", "truncated;wrong", "truncated;wrong;after=3"),
		one("slow drip", "slow-drip;50us"),
	}
}

func throttleClasses() []class {
	return []class{
		many("429, a time in any header", "throttle;1 throttle;20 throttle;86400 throttle;retry-after-ms=1500 throttle;date:30s "+
			"throttle;reset-requests=1s throttle;reset-requests=6m0s throttle;reset-requests=10 "+
			"throttle;reset-tokens=1s throttle;reset-tokens=6m0s throttle;reset-tokens=10"),
		one("429, a time in its text only", "throttle;wait=45s"),
		one("429 without any time", "status;429"),
		back(one("503 with a time", "status;503;retry-after=2")),
		{name: "a limit told in a 200", variants: []variant{
			{fault: "status;200;error=rate_limit_exceeded", only: Plain}, {fault: "error-event;error=rate_limit_exceeded", only: Stream},
		}},
		many("402; insufficient_quota in any status",
			"status;402 status;402;error=insufficient_quota status;error=insufficient_quota status;403;error=insufficient_quota"),
	}
}

// backendClasses are the refusals that are about the backend, whatever their
// status says.
func backendClasses() []class {
	return []class{
		back(many("500, 502, 503, 504, 529", "status;500 status;502 status;503 status;504 status;529")),
		{name: "a failure told in a 200", variants: []variant{
			{fault: "status;200;error=server_error", only: Plain}, {fault: "error-event", only: Stream},
		}},
		back(many("408, 409, 424", "status;408 status;409 status;424")),
		many("404 model_not_found, 421, 425, 449, 499, 302", "status;error=model_not_found "+
			"status;421 status;425 status;449 status;499 status;302"),
		one("404 DeploymentNotFound", "deployment-gone"),
		many("401: no role, or a bad key", "identity-revoked;401 status;401"),
		many("403", "identity-revoked;403 status;403"),
		one("410, the model is retired", "status;410"),
		of([]int{3}, rightly(Retired, one("410 from every target", "status;410"))),
	}
}

// clientClasses are the refusals that are about the client: another target would
// say the same.
func clientClasses() []class {
	always := []int{1, 2, 3}
	inA200 := class{name: "the same, told in a 200"}
	for _, name := range []string{"content_filter", "context_length_exceeded", "invalid_request_error"} {
		inA200.variants = append(inA200.variants,
			variant{fault: "status;200;error=" + name, only: Plain}, variant{fault: "error-event;error=" + name, only: Stream})
	}
	return []class{
		back(of(always, rightly(PassedOn, one("400 content filter", "status;error=content_filter")))),
		back(of(always, rightly(PassedOn, many("400, 413, 415, 422 and other 4xx",
			"status;400 status;error=context_length_exceeded status;error=api_version_not_supported status;413 status;415 status;422 status;451")))),
		back(of(always, rightly(PassedOn, inA200))),
	}
}

// crowdedClasses repeat refusals that come at once, under load: they must not look
// like a target that is free.
func crowdedClasses() []class {
	crowded := func(c class) class {
		c.crowded, c.modes, c.faulty = true, []Mode{Plain}, []int{1}
		return c
	}
	return []class{
		crowded(many("refuses at once under load: the backend", "status;500 status;408 status;410 throttle;1")),
		crowded(rightly(PassedOn, many("refuses at once under load: the client", "status;400 status;error=content_filter"))),
	}
}

// oddClasses are answers that are right and unusual.
func oddClasses() []class {
	once := func(c class) class { return rightly("", c) }
	return []class{
		once(class{name: "slow, but in time", few: true, variants: []variant{
			{fault: "slow;2s", only: Plain}, {fault: "slow;600ms", only: Stream},
		}}),
		once(class{name: "comments before and between events", modes: []Mode{Stream}, variants: faults(
			"comments;100ms;delay=600ms", "comments;100ms;delay=600ms;after=3")}),
		back(rightly(AsItIs, class{name: "[DONE] missing or cut, all finished", modes: []Mode{Stream}, variants: faults(
			"odd-end;missing", "odd-end;one-newline", "odd-end;no-newline")})),
		once(one("served by another model", "served-as;gpt-4o-2024-08-06")),
	}
}

func regionClasses() []class {
	dead, failing, quiet := one("whole region dead", "down"), one("whole region answers 500", "status;500"), silent("whole region silent", "hang")
	dead.regions, failing.regions, quiet.regions = true, true, true
	return []class{dead, failing, quiet}
}

// sessionClasses are of sessions by WebSocket, which fail over until something
// has been passed on.
func sessionClasses() []class {
	session := func(c class) class { c.modes = []Mode{Session}; return c }
	return []class{
		session(many("connection refused; silence", "refuse hang reset-before-header")),
		session(back(many("upgrade refused: the backend", "status;500 status;503;retry-after=2 status;529 throttle;20 "+
			"status;408 status;error=model_not_found identity-revoked;401 status;403 deployment-gone"))),
		session(many("upgrade refused: quota or model gone", "status;402;error=insufficient_quota status;410")), // for minutes, as above
		session(back(of([]int{1, 2, 3}, rightly(PassedOn, many("upgrade refused: the client", "status;400 status;422"))))),
		session(many("first message is an error of the backend", "error-event error-event;error=rate_limit_exceeded error-event;error=insufficient_quota")),
		session(many("closed or reset before the first message", "close-frame;1011 reset-after-header")),
	}
}

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
