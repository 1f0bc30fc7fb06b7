package scorecard

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

const (
	sessionRoute = "gpt-realtime"
	sessionPath  = "/openai/realtime?api-version=2025-04-01-preview&deployment=" + sessionRoute
	// sessionPatience is beyond what opening a session may take with every target
	// tried: 1.5 s each. Later a session has no limit but its own.
	sessionPatience = 10 * time.Second
	// spoken is what a client says in a session and hears again.
	spoken = `{"type":"response.create"}`
)

// converse opens a session, hears the greeting, says something, hears the answer
// and ends it.
func (c *client) converse(ctx context.Context, url string) answer {
	ctx, cancel := context.WithTimeout(ctx, sessionPatience)
	defer cancel()
	header := http.Header{"Api-Key": {c.key}}
	maps.Copy(header, c.header)
	start := time.Now()
	conn, resp, err := websocket.Dial(ctx, url+sessionPath, &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: header}) //nolint:bodyclose // a refusal's is in memory, a session's is the connection
	a := answer{err: err}
	if resp != nil {
		a.status = resp.StatusCode
		a.attempts, _ = strconv.Atoi(resp.Header.Get("X-Stampgate-Attempts"))
	}
	if err != nil {
		if resp != nil { // refused: the library keeps the beginning of the body
			a.err = nil
			a.raw, _ = io.ReadAll(resp.Body)
			a.firstByte = time.Since(start)
		}
		return a
	}
	defer func() { _ = conn.CloseNow() }()
	_, a.raw, a.err = conn.Read(ctx)
	a.firstByte = time.Since(start)
	if a.err != nil || !bytes.HasPrefix(a.raw, []byte(`{"type":"session.created"`)) {
		return a
	}
	if a.err = conn.Write(ctx, websocket.MessageText, []byte(spoken)); a.err != nil {
		return a
	}
	var heard []byte
	if _, heard, a.err = conn.Read(ctx); a.err != nil {
		return a
	}
	var echo struct{ Type, Text string }
	a.complete = json.Unmarshal(heard, &echo) == nil && echo.Type == "sim.echo"
	a.text = echo.Text
	_ = conn.Close(websocket.StatusNormalClosure, "")
	return a
}
