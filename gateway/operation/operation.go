// Package operation answers two questions about a request before anything else
// is decided: which operation of the Azure OpenAI API is this, and what does its
// body say about routing, limits and streaming.
//
// It is pure: no I/O, no clock, no goroutine. One exact table decides about
// paths and one strict parse about bodies, so that routing, limits and records
// can never see two different requests. It never repairs what it is given: what
// is ambiguous is refused. The packages serve and relay use it.
package operation

import "github.com/stampgate/stampgate/gateway/sse"

// A Surface is a generation of the API.
type Surface uint8

// The surfaces.
const (
	// Dated is /openai/… with api-version=YYYY-MM-DD and the deployment in the path.
	Dated Surface = iota
	// V1 is /openai/v1/… with the deployment as model in the body.
	V1
)

// ModelIn says where a request names its deployment, which is our route.
type ModelIn uint8

// The places.
const (
	ModelNone ModelIn = iota
	ModelInPath
	ModelInBody
	ModelInQuery
)

// A Form is what a request's body is.
type Form uint8

// The forms.
const (
	NoBody Form = iota
	JSON
	Multipart // an upload, which nobody looks into
)

// An Operation is one row of the API. It never changes.
type Operation struct {
	// Name is from a closed set, so that it may label metrics.
	Name    string
	Method  string
	Surface Surface
	ModelIn ModelIn
	Form    Form
	// Stateless: repeating it elsewhere does no harm but cost. A chat completion
	// with store is not; see Body.Store.
	Stateless bool
	// Streams: the answer may be an event stream.
	Streams bool
	// ErrorForm is how an event stream of this operation reports an error.
	ErrorForm sse.Form
	// WebSocket: the request asks for an upgrade, and what follows are messages.
	WebSocket bool
	// Local: the gateway answers from the policy; no backend is asked.
	Local bool
	// Served is false for operations that Azure has but this gateway refuses.
	Served bool

	path  []segment
	query []string // parameters that are passed on, besides api-version
	model string   // the parameter that names the deployment; empty unless ModelIn is ModelInQuery
}

// A Match is what Recognise makes of a method, path and query.
type Match struct {
	Operation *Operation
	// Deployment is decoded from the path or the query; empty unless ModelIn is
	// ModelInPath or ModelInQuery.
	Deployment string
	// APIVersion is as the client gave it; on V1 it may be empty.
	APIVersion string
	// ID is the first id in the path, decoded, such as the model of GET /models/{model}.
	ID string

	names [maxNames]string // what the client chose in the path, in order
	query string           // parameters of the operation's list, escaped by us
}
