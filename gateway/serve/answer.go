package serve

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/refusal"
	"github.com/stampgate/stampgate/gateway/relay"
)

// Overloaded answers a request that came on a connection for which there is no room.
func Overloaded(_ context.Context, client message.Client, _ *message.Request) {
	answerRefusal(client, nil, refusal.New(refusal.NoConnection))
}

// refuse answers with an error, in the form of Azure OpenAI.
func (v *visit) refuse(err error) {
	e := refusal.Of(err)
	told := e.Reply()
	r := &v.result
	r.Status = told.Status
	if r.Outcome == "" {
		r.Outcome = told.Result()
	}
	if r.Err == nil && e.Err != nil {
		r.Err = e.Err
	}
	if e.Cause == refusal.ClientGone {
		r.Aborted = true
		return
	}
	h := v.ownFields(make(message.Header, 0, 16), r)
	if e.Cause == refusal.UpgradeRequired || e.Cause == refusal.BadUpgrade {
		h = append(h, message.Field{Name: "Upgrade", Value: "websocket"}, message.Field{Name: "Connection", Value: "Upgrade"},
			message.Field{Name: "Sec-Websocket-Version", Value: "13"})
	}
	_ = v.client.SetWriteDeadline(time.Now().Add(v.WriteTimeout)) // in-memory clients of tests have none
	r.BytesOut = answerRefusal(v.client, h, e)
}

// answerRefusal writes a refusal, and returns how many bytes of it were taken.
func answerRefusal(client message.Client, h message.Header, e *refusal.Error) int64 {
	told := e.Reply()
	body := errorBody{errorFields{Code: told.Code, Message: told.Message, Type: errorType(told.Status)}}
	if e.Param != "" {
		body.Error.Param = &e.Param
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic("serve: an error body of plain strings cannot be encoded: " + err.Error())
	}
	return answerJSON(client, told.Status, addRetry(h, told, rand.Float64()), text)
}

// answerJSON writes an answer of our own.
func answerJSON(client message.Client, status int, h message.Header, text []byte) int64 {
	h = h.Add("Content-Type", "application/json").Add("Content-Length", strconv.Itoa(len(text)))
	client.Begin(status, h)
	n, _ := client.Write(text) // a client that has gone needs no answer
	return int64(n)
}

// errorBody is an error as Azure OpenAI words it.
type errorBody struct {
	Error errorFields `json:"error"`
}

type errorFields struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
}

// errorType is the coarse kind that SDKs show beside the code.
func errorType(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "authentication_error"
	case status == http.StatusForbidden:
		return "permission_error"
	case status == http.StatusTooManyRequests:
		return "rate_limit_error"
	case status >= 500:
		return "server_error"
	}
	return "invalid_request_error"
}

// head adds the gateway's own fields to a backend's answer.
func (v *visit) head(h message.Header, r *relay.Result) message.Header {
	h = v.ownFields(h, r)
	if r.Target != nil && r.Status != 0 {
		h = h.Add("X-Stampgate-Region", string(r.Target.Region()))
	}
	return h
}

// ownFields adds what every answer says, whoever gives it.
func (v *visit) ownFields(h message.Header, r *relay.Result) message.Header {
	h = append(h, message.Field{Name: "X-Request-Id", Value: v.requestID},
		message.Field{Name: "X-Stampgate-Boundary", Value: string(v.Boundary)},
		message.Field{Name: "X-Stampgate-Gateway", Value: v.Name},
		message.Field{Name: "X-Stampgate-Attempts", Value: strconv.Itoa(r.Attempts)})
	if len(r.Targets) > 0 {
		h = h.Add("X-Stampgate-Target", tried(r.Targets))
	}
	if v.snapshot != nil {
		h = h.Add("X-Stampgate-Policy", strconv.FormatUint(v.snapshot.Serial(), 10))
	}
	if v.Draining() && r.Status != http.StatusSwitchingProtocols { // whose connection is to become a session
		h = h.Add("Connection", "close")
	}
	return h
}

// tried names the targets of the attempts in their order.
func tried(list []*policy.Target) string {
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.Backend + "/" + t.Deployment
	}
	return strings.Join(names, ", ")
}
