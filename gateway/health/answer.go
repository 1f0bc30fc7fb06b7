package health

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/stampgate/stampgate/gateway/targets"
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

// routesShown bounds how many routes the document for anyone names: with more
// than that it names the worst, and counts.
const routesShown = 20

// stampAnswer is the stamp's document for anyone: its status and each route's, or
// those of the routes that are not well, and how many there are of each status.
func stampAnswer(s Summary) *answer {
	doc := document{Status: s.Stamp, Checks: make(map[string][]check, min(len(s.Routes), routesShown+3))}
	for _, r := range worst(s.Routes) {
		doc.Checks[r.Name+":availability"] = []check{{Status: r.Status}}
	}
	if len(s.Routes) > routesShown {
		var count [Pass + 1]int
		for _, r := range s.Routes {
			count[r.Status]++
		}
		for status, n := range count {
			doc.Checks["routes:"+Status(status).String()] = []check{{ObservedValue: n, ObservedUnit: "routes", Status: countStatus(Status(status), n)}}
		}
	}
	return newAnswer(code(s.Stamp), healthJSON, doc.encode())
}

// countStatus is that of a count: no route that fails is no fault.
func countStatus(s Status, n int) Status {
	if n == 0 {
		return Pass
	}
	return s
}

// worst returns all routes where they are few, else those that are not well, the
// required and the failing first, as many as are shown.
func worst(all []RouteSummary) []RouteSummary {
	if len(all) <= routesShown {
		return all
	}
	var out []RouteSummary
	for _, required := range [...]bool{true, false} {
		for s := range Pass {
			for _, r := range all {
				if len(out) == routesShown {
					return out
				}
				if r.Required == required && r.Status == s {
					out = append(out, r)
				}
			}
		}
	}
	return out
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

	Required    *bool                `json:"required,omitempty"`
	Region      string               `json:"region,omitempty"`
	Passive     bool                 `json:"passive,omitempty"`
	Breaker     string               `json:"breaker,omitempty"`
	Gated       targets.Milliseconds `json:"gatedForMs,omitempty"`
	Drained     bool                 `json:"drained,omitempty"`
	InFlight    int                  `json:"inFlight,omitempty"`
	FirstByteMS float64              `json:"firstByteMs,omitempty"`
	Serial      uint64               `json:"policySerial,omitempty"`
}

// encode writes the document. Its types cannot fail to encode.
func (d document) encode() []byte {
	body, err := json.Marshal(d)
	if err != nil {
		return []byte(`{"status":"` + d.Status.String() + `"}` + "\n")
	}
	return append(body, '\n')
}
