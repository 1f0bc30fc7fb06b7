package serve

import (
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// route finds the route, and whether the client may use it. From here on the call is
// known to those who end what a new policy does not allow.
func (v *visit) route() error {
	name, err := operation.Route(v.match, &v.call.Scan)
	if err != nil {
		return err
	}
	route, ok := v.snapshot.Route(name)
	if !ok {
		return refusal.New(refusal.RouteNotFound)
	}
	c := &v.call
	c.Route = route
	if !v.caller.May(route.Name) {
		return refusal.New(refusal.RouteForbidden)
	}
	if v.match.Operation.WebSocket {
		if err := v.upgrade(); err != nil {
			return err
		}
		c.Stream, c.Stateless = true, true
	}
	c.Request, c.Match, c.RequestID, c.Hold = v.request, v.match, v.requestID, v.hold
	if v.Seams.Transforms != nil {
		c.Transforms = v.Seams.Transforms(c)
	}
	c.References, c.ListTargets, c.Head = v.snapshot.References(), v.snapshot.DebugHeaders(), v.head
	c.Running = v.Running.Enter(v.ctx, v.client, v.caller, route.Name)
	c.Context = c.Running.Context()
	v.leave = append(v.leave, c.Running.Leave)
	return nil
}

// references refuses a request that has Azure fetch from, or send to, a place which
// the policy does not allow: the policy now in force, for a body may take a minute
// to come.
func (v *visit) references() error {
	if v.match.Operation.Form != operation.JSON {
		return nil // the messages of a session are checked as they come; an upload names no place
	}
	allowed := v.call.RulesOfReferences()
	if allowed.All() {
		return nil
	}
	return operation.References(v.match.Operation, v.text, &v.call.Scan, allowed.Allows)
}

// pin binds the request to the backend that owns the object which it names.
func (v *visit) pin() (err error) {
	if v.Seams.Pin != nil {
		v.backend, err = v.Seams.Pin(v.call.Context, &v.call)
	}
	return err
}

// variant chooses which of the route's variants serves the request.
func (v *visit) variant() error {
	if v.Seams.Variant != nil {
		v.call.Route = v.Seams.Variant(&v.call, v.caller.Name)
	}
	return nil
}

// lease reserves what the request may use of its client's limits.
func (v *visit) lease() (err error) {
	if v.Seams.Lease != nil {
		v.settle, err = v.Seams.Lease(v.call.Context, &v.call, v.caller.Name)
	}
	return err
}
