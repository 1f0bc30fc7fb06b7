package serve

import (
	"encoding/base64"

	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/refusal"
)

// operation finds out what is asked for. What the policy alone can say is answered
// at once.
func (v *visit) operation() error {
	match, err := operation.Recognise(v.request.Method, v.request.Path, v.request.Query)
	if err != nil {
		return err
	}
	v.match = match
	if match.Operation.Local {
		return v.models()
	}
	return nil
}

// upgrade admits the request for a session: well-formed, and within what its client
// may have open.
func (v *visit) upgrade() error {
	if err := checkUpgrade(v.request); err != nil {
		return err
	}
	name := v.caller.Name
	if !v.Sessions.Enter(name) {
		v.Metrics.refused(refusedSessions)
		return refusal.New(refusal.TooManySessions)
	}
	v.leave = append(v.leave, func() { v.Sessions.Leave(name) })
	if !v.hold.TakeBody(requestCost + sessionCost) {
		return v.overloaded()
	}
	return nil
}

// checkUpgrade reports what is wrong with a request for an upgrade (RFC 6455,
// section 4.1).
func checkUpgrade(r *message.Request) error {
	h := r.Header
	if r.Proto != 11 || !h.HasToken("Connection", "upgrade") || !h.HasToken("Upgrade", "websocket") {
		return refusal.New(refusal.UpgradeRequired)
	}
	if version, n := h.Get("Sec-Websocket-Version"); n != 1 || version != "13" {
		return refusal.New(refusal.UpgradeRequired)
	}
	key, n := h.Get("Sec-Websocket-Key")
	if n != 1 || r.Length != 0 {
		return refusal.New(refusal.BadUpgrade)
	}
	if nonce, err := base64.StdEncoding.DecodeString(key); err != nil || len(nonce) != 16 {
		return refusal.New(refusal.BadUpgrade)
	}
	return nil
}
