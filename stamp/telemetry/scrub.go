package telemetry

import (
	"errors"
	"regexp"
	"strings"
)

// maxForeign is the most that is kept of a line that another library wrote, in
// bytes: enough for any message of memberlist, net/http and etcd.
const maxForeign = 512

// maxWork bounds what is looked at of such a line, in bytes.
const maxWork = 8 * maxForeign

// Foreign words an error of a library that speaks with another machine: without
// what is quoted, which may be what that machine sent (gRPC quotes the body of an
// answer that is not its own, encoding/json a name that it does not know), masked
// and cut. It is for errors that are rare. A nil error stays one.
func Foreign(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(newScrubber().line(err.Error()))
}

// A scrubber masks what must not stand in a log. It holds the compiled
// patterns, so that there is no package-level state.
type scrubber struct {
	credentials *regexp.Regexp
	quoted      *regexp.Regexp
}

func newScrubber() scrubber {
	return scrubber{
		// Our client keys, JSON web tokens, values after a credential's
		// usual name, and user information in a URL.
		credentials: regexp.MustCompile(
			`sg_[a-z0-9-]+_[0-9A-Za-z]{8,}` +
				`|eyJ[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)*` +
				`|(?i:bearer|basic)\s+[0-9A-Za-z._~+/=-]{6,}` +
				`|(?i:api-?key|authorization|password|secret|token|cookie)[\\"']*\s*[:=]\s*` +
				`[\\"']*(?:(?i:bearer|basic)\s+)?[^\s\\"',;}]+` +
				`|://[^/\s@"]+@`),
		quoted: regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"?|`[^`]*`?"),
	}
}

// line is clean for a library that speaks with strangers, whatever it is.
func (s scrubber) line(text string) string { return s.clean(s.unquoted(text)) }

// unquoted removes everything that is quoted, for that is how libraries repeat
// what a peer sent, and so the value of a panic, and all that net/http says of an
// answer without a request.
func (s scrubber) unquoted(text string) string {
	if strings.HasPrefix(text, unsolicited) {
		return unsolicited + " received on idle HTTP channel"
	}
	return s.quoted.ReplaceAllString(withoutPanicValue(text[:min(len(text), maxWork)]), `"…"`)
}

// clean masks credentials, cuts the text to its first lines' first bytes, and
// removes what net/http repeats of a peer.
func (s scrubber) clean(text string) string {
	text = text[:min(len(text), maxWork)]
	if fromHTTP(text) {
		text = s.unquoted(text)
	}
	// Masking comes before cutting, so that a cut cannot leave half a key that
	// no pattern knows any more.
	text = s.credentials.ReplaceAllString(text, "[masked]")
	if len(text) > maxForeign {
		text = strings.ToValidUTF8(text[:maxForeign], "") + " …"
	}
	return text
}

// unsolicited is how net/http's transport begins to tell of an answer that came
// without a request, in the backend's own words.
const unsolicited = "Unsolicited response"

// fromHTTP recognises lines of net/http's server and transport, which put their
// own words first.
func fromHTTP(text string) bool {
	return strings.HasPrefix(text, "http: ") || strings.HasPrefix(text, "http2: ") || strings.HasPrefix(text, unsolicited)
}

// withoutPanicValue drops what was thrown from net/http's report of a panic:
// it may quote a request. Of the stack, which follows, it keeps nothing but
// what fits; the handler that recovers tells more.
func withoutPanicValue(text string) string {
	const mark = "panic serving "
	_, rest, ok := strings.Cut(text, mark)
	if !ok {
		return text
	}
	peer, rest, _ := strings.Cut(rest, ": ")
	_, stack, ok := strings.Cut(rest, "\ngoroutine ")
	if !ok {
		return "http: " + mark + peer
	}
	return "http: " + mark + peer + ": goroutine " + string(stripArguments([]byte(stack)))
}
