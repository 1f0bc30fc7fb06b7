package serve

import (
	"errors"
	"slices"

	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/gateway/edge"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// admit takes the policy in force, and finds out who calls.
func (v *visit) admit() error {
	v.snapshot = v.Snapshot()
	if v.snapshot == nil {
		return refusal.New(refusal.NoPolicy)
	}
	if len(v.FrontDoorID) > 0 && !v.fromFrontDoor() {
		return refusal.New(refusal.FrontDoorRequired)
	}
	caller, err := v.Auth.Authenticate(v.ctx, v.request.Header, v.snapshot, v.start)
	if err != nil {
		return v.stranger(err)
	}
	v.caller = caller
	v.hold = v.Budget.Open(caller.Name, edge.Unsent(v.ctx))
	return nil
}

func (v *visit) fromFrontDoor() bool {
	id, n := v.request.Header.Get("X-Azure-Fdid")
	return n == 1 && slices.Contains(v.FrontDoorID, id)
}

// stranger refuses a caller that is not admitted. One of another boundary is told
// where that is, if the policy says so.
func (v *visit) stranger(err error) error {
	e, ok := errors.AsType[*auth.Error](err)
	if !ok {
		return err
	}
	r := &refusal.Error{Cause: refusal.Unauthorized, Message: e.Error()}
	if e.Kind != auth.WrongBoundary {
		return r
	}
	r.Cause = refusal.WrongBoundary
	if address, ok := v.snapshot.OtherBoundary(e.Boundary); ok {
		r.Message = "The credential belongs to boundary " + string(e.Boundary) + ": call " + address + " instead."
	}
	return r
}
