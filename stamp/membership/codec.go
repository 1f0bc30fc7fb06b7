package membership

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// reportVersion is the first byte of a report. A reader refuses every other
// version: a new field means a new version, which a gateway may speak only when
// the metadata of all members say that they know it. Until then, and with a
// peer of another version, each gateway works on what it sees itself.
const reportVersion = 1

const bootBytes = 8 // of the digest that names a boot, see identity

// The bits of a target's mask, one for each field that is not zero.
const (
	hasGate = 1 << iota
	hasBreaker
	hasBreakerRemaining
	hasInFlight
	hasFirstByte
	hasLastSuccess
	maskEnd
)

const flagDraining = 1

var (
	errShort     = errors.New("ends early")
	errTrailing  = errors.New("has bytes after its end")
	errVersion   = errors.New("is of another version")
	errTooLong   = errors.New("is longer than allowed")
	errNumber    = errors.New("has a number that is not in its shortest form or too large")
	errOrder     = errors.New("is not in order")
	errZeroField = errors.New("carries a zero, or a field that we do not know")
)

// encodeReport writes a normalised report. Equal reports have equal bytes.
func encodeReport(r Report) ([]byte, error) {
	boot, err := hex.DecodeString(r.Boot)
	if err != nil || len(boot) != bootBytes || len(r.Node) > maxName {
		return nil, fmt.Errorf("encode report: %q %q is no node and boot", r.Node, r.Boot)
	}
	b := make([]byte, 0, 128+len(r.Targets)*64)
	b = append(b, reportVersion)
	b = appendString(b, r.Node)
	b = append(b, boot...)
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendUvarint(b, r.PolicySerial)
	b = appendString(b, r.Health)
	var flags byte
	if r.Draining {
		flags |= flagDraining
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(r.Targets)))
	origin := ""
	for _, t := range r.Targets {
		b = appendTarget(b, t, t.Origin == origin)
		origin = t.Origin
	}
	if len(b) > MaxReportBytes {
		return nil, fmt.Errorf("encode report: %w", errTooLong)
	}
	return b, nil
}

// appendTarget leaves the origin out where it is that of the target before:
// an empty string stands for it.
func appendTarget(b []byte, t TargetReport, sameOrigin bool) []byte {
	if sameOrigin {
		b = append(b, 0)
	} else {
		b = appendString(b, t.Origin)
	}
	b = appendString(b, t.Deployment)
	at := len(b)
	b = append(b, 0)
	for i, v := range t.numbers() {
		if v != 0 {
			b[at] |= 1 << i
			b = binary.AppendUvarint(b, v)
		}
	}
	return b
}

// numbers lists the fields in the order of the mask's bits.
func (t TargetReport) numbers() [6]uint64 {
	return [6]uint64{
		uint64(t.GateRemaining / time.Millisecond),
		uint64(t.Breaker),
		uint64(t.BreakerRemaining / time.Millisecond),
		uint64(t.InFlight),
		uint64(t.FirstByteEWMA / time.Microsecond),
		uint64(t.LastSuccessAge / time.Millisecond),
	}
}

// limits are the largest values of numbers.
func limits() [6]uint64 {
	const remaining = uint64(maxRemaining / time.Millisecond)
	return [6]uint64{remaining, uint64(breakerStates) - 1, remaining, 1<<32 - 1, uint64(maxFirstByte / time.Microsecond), remaining}
}

// decodeReport reads what encodeReport wrote and refuses all else: what it
// accepts encodes to the same bytes. It allocates no more than a few times the
// length of b.
func decodeReport(b []byte) (Report, error) {
	if len(b) > MaxReportBytes {
		return Report{}, errTooLong
	}
	d := decoder{rest: b}
	r := d.head()
	r.PolicySerial = d.uvarint(1<<64 - 1)
	r.Health = d.str(maxHealth)
	flags := d.byte()
	r.Draining = flags&flagDraining != 0
	d.check(flags&^flagDraining == 0, errZeroField)
	n := d.uvarint(MaxTargets)
	// Each target takes at least four bytes, so a count that lies is caught
	// before anything is allocated for it.
	d.check(n <= uint64(len(d.rest))/4, errShort)
	if d.err == nil && n > 0 {
		r.Targets = make([]TargetReport, 0, n)
	}
	origin := ""
	for range n {
		t := d.target(origin)
		if d.err != nil {
			break
		}
		if k := len(r.Targets); k > 0 {
			d.check(r.Targets[k-1].compare(t) < 0, errOrder)
		}
		r.Targets = append(r.Targets, t)
		origin = t.Origin
	}
	d.check(len(d.rest) == 0, errTrailing)
	if d.err != nil {
		return Report{}, d.err
	}
	return r, nil
}

// decodeHead reads which report this is, which costs little: most of what
// gossip brings is known already.
func decodeHead(b []byte) (Report, error) {
	d := decoder{rest: b}
	r := d.head()
	return r, d.err
}

// decoder reads from the front of rest until its first error.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) head() Report {
	d.check(d.byte() == reportVersion, errVersion)
	r := Report{Node: d.str(maxName)}
	r.Boot = hex.EncodeToString(d.take(bootBytes))
	r.Seq = d.uvarint(1<<64 - 1)
	return r
}

func (d *decoder) target(before string) TargetReport {
	t := TargetReport{Origin: d.str(maxOrigin)}
	switch t.Origin {
	case "":
		t.Origin = before
		d.check(before != "", errOrder)
	case before:
		d.check(false, errOrder) // it should have been left out
	}
	t.Deployment = d.str(maxDeployment)
	mask := d.byte()
	d.check(mask != 0 && mask < maskEnd, errZeroField)
	var v [6]uint64
	for i, limit := range limits() {
		if mask&(1<<i) != 0 {
			v[i] = d.uvarint(limit)
			d.check(v[i] != 0, errZeroField)
		}
	}
	t.GateRemaining = time.Duration(v[0]) * time.Millisecond
	t.Breaker = Breaker(v[1])
	t.BreakerRemaining = time.Duration(v[2]) * time.Millisecond
	t.InFlight = uint32(v[3])
	t.FirstByteEWMA = time.Duration(v[4]) * time.Microsecond
	t.LastSuccessAge = time.Duration(v[5]) * time.Millisecond
	return t
}

func (d *decoder) check(ok bool, err error) {
	if !ok && d.err == nil {
		d.err = err
	}
}

func (d *decoder) take(n int) []byte {
	d.check(n <= len(d.rest), errShort)
	if d.err != nil {
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	d.check(n != 0, errShort)
	// A last byte of zero means that the number has a shorter form.
	d.check(n == 1 || n > 1 && d.rest[n-1] != 0, errNumber)
	d.check(v <= limit, errNumber)
	if d.err != nil {
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) str(limit int) string {
	n := d.uvarint(uint64(limit))
	return string(d.take(int(n)))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
