package azuresim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Record is what an instance knows of one request. It holds nothing of the
// request's text and no secret.
type Record struct {
	Sequence uint64 `json:"sequence"` // over all instances, by arrival, from 1
	Instance string `json:"instance"`
	// Operation is Azure's name, for example ChatCompletions_Create; empty if
	// the path is none of Azure's.
	Operation  string `json:"operation"`
	Method     string `json:"method"`
	Path       string `json:"path"` // as sent, without the query
	APIVersion string `json:"apiVersion,omitempty"`
	Protocol   string `json:"protocol"` // HTTP/1.1, HTTP/2.0
	Host       string `json:"host"`
	Deployment string `json:"deployment"` // as named in the path or the body
	Stream     bool   `json:"stream"`
	Peer       string `json:"peer"` // address and port
	// Credential is what the request brought, valid or not.
	Credential CredentialKind `json:"credential"`
	// HeaderNames are lower-case and sorted; Headers holds the few values that
	// are worth asking for and never secret.
	HeaderNames []string          `json:"headerNames"`
	Headers     map[string]string `json:"headers"`
	BodyBytes   int64             `json:"bodyBytes"`
	BodySHA256  string            `json:"bodySha256"`

	Start       time.Time `json:"start"`
	End         time.Time `json:"end,omitzero"`
	Status      int       `json:"status"` // 0: no header was sent
	HeadersSent bool      `json:"headersSent"`
	AnswerBytes int64     `json:"answerBytes"`
	Outcome     Outcome   `json:"outcome"`
	CloseCode   int       `json:"closeCode,omitempty"` // with which the client closed a WebSocket
	Faults      []string  `json:"faults,omitempty"`    // the kinds that struck
}

// Finished tells that the whole answer was sent.
func (r Record) Finished() bool { return r.Outcome == OutcomeFinished }

// Aborted tells that the client went away before the answer's end.
func (r Record) Aborted() bool { return r.Outcome == OutcomeClientGone }

// A CredentialKind is the form in which a request brought its credential.
type CredentialKind string

// The kinds of credential.
const (
	CredentialNone        CredentialKind = "none"
	CredentialAPIKey      CredentialKind = "api-key"
	CredentialQueryKey    CredentialKind = "query-key" // of a WebSocket
	CredentialBearerKey   CredentialKind = "bearer-key"
	CredentialBearerToken CredentialKind = "bearer-token"
)

// An Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	OutcomeRunning    Outcome = "running"
	OutcomeFinished   Outcome = "finished"
	OutcomeClientGone Outcome = "client-gone"
	OutcomeCut        Outcome = "cut" // by a fault or by Close
)

// recordedHeaders are the ones whose values are kept.
func recordedHeaders() []string {
	return []string{
		"x-request-id", "x-ms-client-request-id", "content-type", "accept", "user-agent", "traceparent",
		"x-stainless-retry-count", "x-ms-spillover-deployment", "x-sim-fault",
	}
}

const (
	maxRecordedText  = 256
	maxRecordedNames = 64
)

// newRecord notes what a request's head says.
func newRecord(instance string, sequence uint64, r *http.Request, now time.Time) Record {
	rec := Record{
		Sequence: sequence, Instance: instance, Method: clip(r.Method), Path: clip(r.URL.EscapedPath()),
		APIVersion: clip(r.URL.Query().Get("api-version")), Protocol: r.Proto, Host: clip(r.Host),
		Peer: r.RemoteAddr, Credential: credentialKind(r), Start: now, Outcome: OutcomeRunning,
		Headers: map[string]string{},
	}
	for name := range r.Header {
		if len(rec.HeaderNames) < maxRecordedNames {
			rec.HeaderNames = append(rec.HeaderNames, clip(strings.ToLower(name)))
		}
	}
	slices.Sort(rec.HeaderNames)
	for _, name := range recordedHeaders() {
		if v := r.Header.Get(name); v != "" {
			rec.Headers[name] = clip(v)
		}
	}
	return rec
}

func clip(s string) string {
	if len(s) > maxRecordedText {
		return s[:maxRecordedText]
	}
	return s
}

func bodyDigest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

func bySequence(a, b Record) int { return cmp.Compare(a.Sequence, b.Sequence) }

// A recordRing keeps the last records of an instance. A record is in it from
// its arrival on and changes until its request has ended.
type recordRing struct {
	mu      sync.Mutex // guards the fields below and every kept record
	kept    []*Record  // oldest at next once full
	next    int
	limit   int
	dropped uint64
}

func newRecordRing(limit int) *recordRing { return &recordRing{limit: limit} }

// add keeps r and drops the oldest if there are too many. The returned pointer
// may be changed through update only.
func (k *recordRing) add(r Record) *Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	p := new(r)
	if len(k.kept) < k.limit {
		k.kept = append(k.kept, p)
		return p
	}
	k.kept[k.next] = p
	k.next = (k.next + 1) % k.limit
	k.dropped++
	return p
}

// update changes a record that readers may be looking at.
func (k *recordRing) update(r *Record, change func(*Record)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(r)
}

// since returns copies of the records after a sequence number, oldest first.
func (k *recordRing) since(after uint64) []Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Record, 0, len(k.kept))
	for _, r := range k.kept {
		if r.Sequence > after {
			c := *r
			c.Faults = slices.Clone(r.Faults)
			out = append(out, c)
		}
	}
	slices.SortFunc(out, bySequence)
	return out
}

func (k *recordRing) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept, k.next = nil, 0
}

func (k *recordRing) droppedCount() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dropped
}
