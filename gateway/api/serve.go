package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/proxy"
)

// A visit is one request on its way through the edge; it ends as a log line.
type visit struct {
	*server

	w         http.ResponseWriter
	r         *http.Request
	start     time.Time
	requestID string
	snapshot  *policy.Snapshot

	client    string
	operation string
	route     string
	stream    bool
	bytesIn   int
	bodyRead  bool
	hold      *bytebudget.Hold // nil until the client is known
	result    proxy.Result
}

// serve is the outermost handler of everything but health.
func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.Inflight.Add()
	defer s.Inflight.Done()
	v := &visit{server: s, w: w, r: r, start: time.Now(), requestID: requestID(r.Header), operation: "none"}
	defer func() { v.hold.Release() }()
	if err := v.handle(); err != nil { //nolint:contextcheck // the request is in v, and its context with it
		v.refuse(err)
	}
	v.record()
	if v.result.Aborted {
		// What the client got is not complete: the connection ends here, so that
		// it cannot be taken for complete.
		panic(http.ErrAbortHandler)
	}
}

// handle takes a request through the steps of the design: edge, admit,
// operation, and then the proxy, which picks and attempts.
func (v *visit) handle() error {
	v.snapshot = v.Snapshot()
	if v.snapshot == nil {
		return errNoPolicy
	}
	if len(v.FrontDoorID) > 0 && !v.fromFrontDoor() {
		return errFrontDoorRequired
	}
	client, err := v.Auth.Authenticate(v.r.Context(), v.r.Header, v.snapshot, v.start)
	if err != nil {
		return v.whereTo(err)
	}
	v.client = client.Name
	v.hold = v.Budget.Open(client.Name, edge.Unsent(v.r.Context()))
	match, err := operation.Recognise(v.r.Method, v.r.URL.EscapedPath(), v.r.URL.RawQuery)
	if err != nil {
		return err
	}
	v.operation = match.Operation.Name
	if match.Operation.Local {
		return v.local(match, client.Principal)
	}
	if match.Operation.WebSocket {
		return v.relay(match, client)
	}
	return v.forward(match, client)
}

func (v *visit) fromFrontDoor() bool {
	ids := v.r.Header["X-Azure-Fdid"]
	return len(ids) == 1 && slices.Contains(v.FrontDoorID, ids[0])
}

// forward reads and scans the body, resolves the route and lets the proxy serve.
func (v *visit) forward(match operation.Match, client policy.Caller) error {
	body, err := v.readBody(match.Operation)
	if err != nil {
		return err
	}
	v.bytesIn = len(body)
	scan, err := operation.ScanBody(body)
	if err != nil {
		return err
	}
	call, err := v.call(match, &scan, client.Principal)
	if err != nil {
		return err
	}
	defer v.run(call, client)()
	// By the policy now in force: a body may take a minute to come.
	if refs := call.RulesOfReferences(); !refs.All() {
		if err := operation.References(match.Operation, body, &scan, refs.Allows); err != nil {
			return err
		}
	}
	v.stream = operation.Streams(match.Operation, &scan)
	call.Body, call.Scan = body, scan
	call.Stream, call.Tokens = v.stream, operation.Tokens(&scan, len(body))
	call.Stateless = match.Operation.Stateless && !scan.Store.On
	v.result = v.Proxy.Serve(v.w, call)
	return v.refusal()
}

// call resolves the route that the request asks for, if the client may use it.
func (v *visit) call(match operation.Match, scan *operation.Body, client *policy.Principal) (*proxy.Call, error) {
	name, err := operation.Route(match, scan)
	if err != nil {
		return nil, err
	}
	route, ok := v.snapshot.Route(name)
	if !ok {
		return nil, errRouteNotFound
	}
	v.route = route.Name
	if !client.May(route.Name) {
		return nil, errRouteForbidden
	}
	rules, ok := v.snapshot.Stamp(v.Region)
	if !ok {
		rules = &policy.StampRules{Region: v.Region}
	}
	return &proxy.Call{
		Context: v.r.Context(), Match: match, Header: v.r.Header,
		Route: route, Stamp: rules, Client: client.Name, References: v.snapshot.References(), RequestID: v.requestID, BeforeHeader: v.stamp,
		ListTargets: v.snapshot.DebugHeaders(), Hold: v.hold,
	}, nil
}

// run notes that the call is being served, so that a policy which no longer
// allows it ends it. The function that it returns ends the note.
func (v *visit) run(call *proxy.Call, client policy.Caller) (leave func()) {
	call.Running = v.Running.Enter(call.Context, v.w, client, call.Route.Name)
	call.Context = call.Running.Context()
	return call.Running.Leave
}

// refusal is what the proxy leaves to be answered here.
func (v *visit) refusal() error {
	if v.result.Refusal != nil {
		return v.result.Refusal
	}
	return nil
}

// encoded reports whether a body is compressed, or whatever else a coding does.
func encoded(lines []string) bool {
	for _, line := range lines {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}

// stamp writes the headers that every reply carries.
func (v *visit) stamp(h http.Header, r *proxy.Result) {
	set := func(name, value string) { h[name] = []string{value} }
	set("X-Request-Id", v.requestID)
	set("X-Stampgate-Boundary", string(v.Boundary))
	set("X-Stampgate-Gateway", v.Name)
	set("X-Stampgate-Attempts", itoa(r.Attempts))
	if r.Target != nil && r.Status != 0 {
		set("X-Stampgate-Region", string(r.Target.Region()))
	}
	if len(r.Targets) > 0 {
		set("X-Stampgate-Target", tried(r.Targets))
	}
	if v.snapshot != nil {
		set("X-Stampgate-Policy", utoa(v.snapshot.Serial()))
	}
	if v.Draining() {
		set("Connection", "close")
	}
}

// tried lists the targets of the attempts in their order, the last of which
// served if any did.
func tried(list []*policy.Target) string {
	var b strings.Builder
	for i, t := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(t.Backend + "/" + t.Deployment)
	}
	return b.String()
}

// whereTo adds the address of the boundary that a foreign key names, if the policy
// gives it.
func (v *visit) whereTo(err error) error {
	e, ok := errors.AsType[*auth.Error](err)
	if !ok || e.Kind != auth.WrongBoundary {
		return err
	}
	r := authRefusal(e)
	if address, ok := v.snapshot.OtherBoundary(e.Boundary); ok {
		r.Message = "The credential belongs to boundary " + string(e.Boundary) + ": call " + address + " instead."
	}
	return r
}

// authRefusal is the answer to an auth error: one text for all that is neither
// another boundary's nor ambiguous. 403 and not 421, which some clients take for
// an invitation to send the request again.
func authRefusal(e *auth.Error) *proxy.Refusal {
	if e.Kind == auth.WrongBoundary {
		return final(http.StatusForbidden, "wrong_boundary", e.Error())
	}
	return final(http.StatusUnauthorized, "unauthorized", e.Error())
}
