package api

import (
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/operation"
	"github.com/stampgate/stampgate/gateway/proxy"
)

var (
	errUpgradeRequired = final(http.StatusUpgradeRequired, "upgrade_required",
		"This operation is a WebSocket, version 13, over HTTP/1.1: send a request for an upgrade.")
	errBadUpgrade = final(http.StatusBadRequest, "invalid_request",
		"The request for an upgrade is malformed.")
	errSessions = &proxy.Refusal{
		Status: http.StatusTooManyRequests, Code: "limit_reached", RetryAfter: 5 * time.Second,
		Message: "This client has as many sessions open on this gateway as it may. End one first.",
	}
)

// relay serves a WebSocket. It returns when the session has ended, so that a
// drain counts it until then.
func (v *visit) relay(match operation.Match, client policy.Caller) error {
	call, err := v.call(match, nil, client.Principal)
	if err != nil {
		return err
	}
	if err := checkUpgrade(v.r); err != nil {
		h := v.w.Header()
		h["Upgrade"], h["Connection"] = []string{"websocket"}, []string{"Upgrade"}
		h["Sec-Websocket-Version"] = []string{"13"}
		return err
	}
	if !v.Sessions.Enter(client.Name) {
		v.Metrics.refused(refusedSessions)
		return errSessions
	}
	defer v.Sessions.Leave(client.Name)
	if !v.hold.TakeBody(requestCost + sessionCost) {
		return v.overloaded()
	}
	v.stream, call.Stream = true, true
	defer v.run(call, client)()
	v.result = v.Proxy.ServeWebSocket(v.w, v.r, call)
	v.bytesIn = int(v.result.BytesIn)
	return v.refusal()
}

// checkUpgrade requires what RFC 6455 (4.2.1) requires of a client. HTTP/2 has
// another way to open a WebSocket, which no client of this API uses: clients
// agree on HTTP/1.1 when they connect for one.
func checkUpgrade(r *http.Request) error {
	h := r.Header
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || !hasToken(h["Connection"], "upgrade") || !hasToken(h["Upgrade"], "websocket") {
		return errUpgradeRequired
	}
	if v := h["Sec-Websocket-Version"]; len(v) != 1 || v[0] != "13" {
		return errUpgradeRequired
	}
	keys := h["Sec-Websocket-Key"]
	if len(keys) != 1 || r.ContentLength != 0 {
		return errBadUpgrade
	}
	if key, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(key) != 16 {
		return errBadUpgrade
	}
	return nil
}

// hasToken looks for a word in header lines that are lists of words.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}
