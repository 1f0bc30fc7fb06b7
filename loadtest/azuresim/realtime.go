package azuresim

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// realtimeLimit is the largest message of a session, in bytes: 15 MiB of audio
// as base64, and what is around it.
const realtimeLimit = 24 << 20

// queryKey is the key that a client which cannot set headers puts into the
// query of a WebSocket.
func queryKey(r *http.Request) string {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return ""
	}
	return r.URL.Query().Get("api-key")
}

// realtimeDeployment is the deployment that a session asks for.
func realtimeDeployment(r *http.Request, v1 bool) string {
	if v1 {
		return r.URL.Query().Get("model")
	}
	return r.URL.Query().Get("deployment")
}

// realtimeMessage is an event of a session, as far as the simulator reads or
// writes any.
type realtimeMessage struct {
	Type    string           `json:"type"`
	EventID string           `json:"event_id,omitempty"`
	Session *realtimeSession `json:"session,omitempty"`
	Text    string           `json:"text,omitempty"` // sim.echo: the message that came
	Code    int              `json:"code,omitempty"` // sim.close: the code to close with
}

type realtimeSession struct {
	ID     string `json:"id"`
	Object string `json:"object"`
	Model  string `json:"model"`
}

// serveRealtime opens a session and sends each text message back as an event
// sim.echo. The message {"type":"sim.close","code":1011} has it close so;
// otherwise it runs until the client closes.
func serveRealtime(x *exchange) {
	if !strings.EqualFold(x.r.Header.Get("Upgrade"), "websocket") {
		x.plain(plainError(http.StatusBadRequest, "BadRequest", "The request is not a WebSocket handshake."))
		return
	}
	h := x.w.Header()
	h.Set("Apim-Request-Id", guid())
	h.Set("X-Ms-Region", x.inst.cfg.Region)
	h.Set("X-Request-Id", x.requestID)
	x.status = http.StatusSwitchingProtocols
	x.note(func(r *Record) { r.Status, r.HeadersSent, r.Stream = x.status, true, true })
	c, err := websocket.Accept(x.w, x.r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}, InsecureSkipVerify: true})
	if err != nil {
		return // the record says that the client went away
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(realtimeLimit)
	x.session(c)
}

// session greets and echoes until one side ends it.
func (x *exchange) session(c *websocket.Conn) {
	m := realtimeMessage{Type: "session.created", EventID: guid(), Session: &realtimeSession{
		ID: "sess_" + guid(), Object: "realtime.session", Model: x.servedModel(x.deployment.snapshotName()),
	}}
	for sent := 0; ; sent++ {
		if !x.sessionFault(c, sent) {
			return
		}
		err := x.tell(c, m)
		var text []byte
		if err == nil {
			_, text, err = c.Read(x.r.Context())
		}
		if err != nil {
			x.sessionEnded(err)
			return
		}
		var asked realtimeMessage
		if json.Unmarshal(text, &asked) == nil && asked.Type == "sim.close" {
			x.finish(0)
			_ = c.Close(websocket.StatusCode(asked.Code), "as asked")
			return
		}
		m = realtimeMessage{Type: "sim.echo", EventID: guid(), Text: string(text)}
	}
}

// sessionEnded notes the client's close, if that is what ended the session.
func (x *exchange) sessionEnded(err error) {
	if websocket.CloseStatus(err) >= 0 {
		x.note(func(r *Record) { r.CloseCode = int(websocket.CloseStatus(err)) })
		x.finish(0)
	}
}

// sessionFault carries out a fault at the message with its number and tells
// whether the session goes on.
func (x *exchange) sessionFault(c *websocket.Conn, sent int) bool {
	f := x.fault
	if f == nil || f.After != sent {
		return true
	}
	switch f.Kind {
	case FaultErrorEvent:
		// The error is the one of an answer, under the session's own type.
		event := []byte(`{"type":"error","event_id":` + quote(guid()) + `,` + x.eventError(f).body[1:])
		x.sent += int64(len(event))
		x.finish(0)
		if c.Write(x.r.Context(), websocket.MessageText, event) == nil {
			_ = c.Close(websocket.StatusPolicyViolation, "")
		}
		return false
	case FaultClose:
		x.finish(0)
		_ = c.Close(websocket.StatusCode(cmp.Or(f.Code, int(websocket.StatusInternalError))), "")
		return false
	case FaultResetAfterHead:
		x.reset()
	case FaultStallFirstByte:
		if f.Delay > 0 {
			return x.wait(f.Delay)
		}
		// What is read ends with the client; nothing is answered.
		_, _, err := c.Read(x.r.Context())
		for err == nil {
			_, _, err = c.Read(x.r.Context())
		}
		x.sessionEnded(err)
		return false
	default:
	}
	return true
}

// tell sends an event.
func (x *exchange) tell(c *websocket.Conn, m realtimeMessage) error {
	text := mustJSON(m)
	x.sent += int64(len(text))
	return c.Write(x.r.Context(), websocket.MessageText, text)
}
