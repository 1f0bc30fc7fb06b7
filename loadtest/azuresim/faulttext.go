package azuresim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseFault reads the short form, as in the header x-sim-fault and on command
// lines: kind[;value][;name=value]… where value stands for the parameter that
// the kind needs: "status;503;retry-after=2", "reset-after-bytes;120",
// "stall-mid-stream;3", "throttle;retry-after-ms=1500;count=2",
// "status;402;error=insufficient_quota", "error-event;error=content_filter".
func ParseFault(text string) (Fault, error) {
	parts := strings.Split(text, ";")
	if len(parts) > 24 {
		return Fault{}, fmt.Errorf("fault %.40q: too many parameters", text)
	}
	f := Fault{Kind: FaultKind(strings.TrimSpace(parts[0]))}
	for n, p := range parts[1:] {
		name, value, named := strings.Cut(strings.TrimSpace(p), "=")
		if !named {
			if name, value = f.Kind.mainParameter(), name; n > 0 || name == "" {
				return Fault{}, fmt.Errorf("fault %s: parameter %.40q has no name", f.Kind, value)
			}
		}
		if err := f.set(name, value); err != nil {
			return Fault{}, fmt.Errorf("fault %s: %s: %w", f.Kind, name, err)
		}
	}
	if err := f.Validate(); err != nil {
		return Fault{}, fmt.Errorf("fault: %w", err)
	}
	return f, nil
}

// mainParameter is the one that may be given without its name.
func (k FaultKind) mainParameter() string {
	switch k {
	case FaultStatus, FaultIdentityRevoked:
		return "status"
	case FaultThrottle:
		return "retry-after"
	case FaultResetAfterBytes:
		return "bytes"
	case FaultStallMidStream, FaultErrorEvent, FaultMalformedChunk, FaultMalformedJSON, FaultMalformedSSE:
		return "after"
	case FaultSlow, FaultStallFirstByte:
		return "delay"
	case FaultSlowDrip, FaultComments:
		return "interval"
	case FaultOddEnd:
		return "end"
	case FaultServedAs:
		return "model"
	case FaultClose:
		return "code"
	case FaultWrongCertificate:
		return "certificate"
	case FaultTruncated:
		return "length"
	case FaultRefuse, FaultDown:
		return "for"
	default:
		return ""
	}
}

// set assigns one parameter of the short form.
func (f *Fault) set(name, value string) (err error) {
	switch name {
	case "deployment":
		f.Deployment = value
	case "operation":
		f.Operation = value
	case "only":
		f.Only = value
	case "count":
		f.Count, err = strconv.Atoi(value)
	case "share":
		f.Share, err = strconv.ParseFloat(value, 64)
	case "for":
		f.For, err = time.ParseDuration(value)
	case "status":
		f.Status, err = strconv.Atoi(value)
	case "error":
		f.Error = value
	case "retry-after":
		f.RetryAfter = value
	case "retry-after-ms":
		f.RetryAfterMS = value
	case "reset-requests":
		f.ResetRequests = value
	case "reset-tokens":
		f.ResetTokens = value
	case "limit":
		f.Limit = value
	case "wait":
		f.Wait, err = time.ParseDuration(value)
	case "after":
		f.After, err = strconv.Atoi(value)
	case "bytes":
		f.Bytes, err = strconv.Atoi(value)
	case "delay":
		f.Delay, err = time.ParseDuration(value)
	case "interval":
		f.Interval, err = time.ParseDuration(value)
	case "certificate":
		f.Certificate = value
	case "length":
		f.Length = value
	case "end":
		f.End = value
	case "model":
		f.Model = value
	case "code":
		f.Code, err = strconv.Atoi(value)
	default:
		err = fmt.Errorf("no such parameter")
	}
	return err
}

// parameters returns what is set, by the names of the short form.
func (f Fault) parameters() map[string]string {
	out := map[string]string{}
	text := func(name, v string) {
		if v != "" {
			out[name] = v
		}
	}
	number := func(name string, v int) {
		if v != 0 {
			out[name] = strconv.Itoa(v)
		}
	}
	wait := func(name string, v time.Duration) {
		if v != 0 {
			out[name] = v.String()
		}
	}
	text("deployment", f.Deployment)
	text("operation", f.Operation)
	text("only", f.Only)
	number("count", f.Count)
	if f.Share != 0 {
		out["share"] = strconv.FormatFloat(f.Share, 'g', -1, 64)
	}
	wait("for", f.For)
	number("status", f.Status)
	text("error", f.Error)
	text("retry-after", f.RetryAfter)
	text("retry-after-ms", f.RetryAfterMS)
	text("reset-requests", f.ResetRequests)
	text("reset-tokens", f.ResetTokens)
	text("limit", f.Limit)
	wait("wait", f.Wait)
	number("after", f.After)
	number("bytes", f.Bytes)
	wait("delay", f.Delay)
	wait("interval", f.Interval)
	text("certificate", f.Certificate)
	text("length", f.Length)
	text("end", f.End)
	text("model", f.Model)
	number("code", f.Code)
	return out
}

// String is the short form that ParseFault reads.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(string(f.Kind))
	p := f.parameters()
	for _, name := range slices.Sorted(maps.Keys(p)) {
		b.WriteString(";" + name + "=" + p[name])
	}
	return b.String()
}

// MarshalJSON writes the parameters as an object, by the names that they have in
// YAML, and the kind beside them. YAML reads it, too.
func (f Fault) MarshalJSON() ([]byte, error) {
	p := map[string]any{"kind": f.Kind}
	for name, value := range f.parameters() {
		p[camelCase(name)] = value
	}
	for name, n := range map[string]int{"count": f.Count, "status": f.Status, "after": f.After, "bytes": f.Bytes, "code": f.Code} {
		if n != 0 {
			p[name] = n
		}
	}
	if f.Share != 0 {
		p["share"] = f.Share
	}
	return json.Marshal(p)
}

// camelCase turns a name of the short form into that of JSON and YAML:
// retry-after-ms is retryAfterMs.
func camelCase(name string) string {
	var b strings.Builder
	for n, part := range strings.Split(name, "-") {
		if n > 0 {
			part = strings.ToUpper(part[:1]) + part[1:]
		}
		b.WriteString(part)
	}
	return b.String()
}

// shortName is the inverse of camelCase; names of the short form stay as they are.
func shortName(name string) string {
	var b strings.Builder
	for _, r := range name {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// UnmarshalJSON reads a string in the short form, or an object with the kind
// and parameters, named as in YAML or as in the short form, whose values may be
// strings or numbers.
func (f *Fault) UnmarshalJSON(text []byte) error {
	var short string
	if json.Unmarshal(text, &short) == nil {
		var err error
		*f, err = ParseFault(short)
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return fmt.Errorf("read fault: %w", err)
	}
	*f = Fault{}
	for name, raw := range fields {
		value := strings.TrimSpace(string(raw))
		if strings.HasPrefix(value, `"`) {
			if err := json.Unmarshal(raw, &value); err != nil {
				return fmt.Errorf("read fault: %s: %w", name, err)
			}
		}
		if name == "kind" {
			f.Kind = FaultKind(value)
			continue
		}
		if err := f.set(shortName(name), value); err != nil {
			return fmt.Errorf("read fault: %s: %w", name, err)
		}
	}
	return f.Validate()
}
