package health

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// An answer is a whole reply, built before anyone asks. It never changes; the
// slices are shared by all replies, so their capacity is their length.
type answer struct {
	code   int
	kind   []string // Content-Type
	length []string // Content-Length
	body   []byte
}

const (
	healthJSON = "application/health+json"
	plainJSON  = "application/json"
)

func newAnswer(code int, kind string, body []byte) *answer {
	return &answer{code: code, kind: []string{kind}, length: []string{strconv.Itoa(len(body))}, body: body}
}

// statusAnswer is the document that says the status and nothing more.
func statusAnswer(s Status) *answer {
	return newAnswer(code(s), healthJSON, []byte(`{"status":"`+s.String()+`"}`+"\n"))
}

// stampAnswer is the stamp's document for anyone: its status and each route's.
func stampAnswer(s Summary) *answer {
	doc := document{Status: s.Stamp, Checks: make(map[string][]check, len(s.Routes))}
	for _, r := range s.Routes {
		doc.Checks[r.Name+":availability"] = []check{{Status: r.Status}}
	}
	return newAnswer(code(s.Stamp), healthJSON, doc.encode())
}

func code(s Status) int {
	if s.Good() {
		return http.StatusOK
	}
	return http.StatusServiceUnavailable
}

// A document is what draft-inadarei-api-health-check describes, as far as we
// use it.
type document struct {
	Status    Status             `json:"status"`
	Version   string             `json:"version,omitempty"`
	ServiceID string             `json:"serviceId,omitempty"`
	Output    string             `json:"output,omitempty"`
	Notes     []string           `json:"notes,omitempty"`
	Checks    map[string][]check `json:"checks,omitempty"`
}

// A check is one measurement. The fields after Output are our own.
type check struct {
	ComponentID   string `json:"componentId,omitempty"`
	ComponentType string `json:"componentType,omitempty"`
	ObservedValue any    `json:"observedValue,omitempty"`
	ObservedUnit  string `json:"observedUnit,omitempty"`
	Status        Status `json:"status"`
	Time          string `json:"time,omitempty"`
	Output        string `json:"output,omitempty"`

	Required    *bool   `json:"required,omitempty"`
	Region      string  `json:"region,omitempty"`
	Passive     bool    `json:"passive,omitempty"`
	Breaker     string  `json:"breaker,omitempty"`
	GatedMS     int64   `json:"gatedForMs,omitempty"`
	Drained     bool    `json:"drained,omitempty"`
	InFlight    int     `json:"inFlight,omitempty"`
	FirstByteMS float64 `json:"firstByteMs,omitempty"`
	Serial      uint64  `json:"policySerial,omitempty"`
}

// encode writes the document. Its types cannot fail to encode.
func (d document) encode() []byte {
	body, err := json.Marshal(d)
	if err != nil {
		return []byte(`{"status":"` + d.Status.String() + `"}` + "\n")
	}
	return append(body, '\n')
}
