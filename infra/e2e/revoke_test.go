package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// changed is the published policy with a change.
func changed(t *testing.T, s *e2e.Stack, change func(*policy.Document)) string {
	t.Helper()
	doc, err := policy.Decode([]byte(s.Policy))
	if err != nil {
		t.Fatal(err)
	}
	change(doc)
	text, err := yaml.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// withoutRegion takes a region and its country out of a policy.
func withoutRegion(region geo.RegionID, country geo.Country) func(*policy.Document) {
	return func(d *policy.Document) {
		d.Residency.Countries = slices.DeleteFunc(d.Residency.Countries, func(c geo.Country) bool { return c == country })
		d.Stamps = slices.DeleteFunc(d.Stamps, func(s policy.Stamp) bool { return s.Region == region })
		for i := range d.Stamps {
			d.Stamps[i].Fallback = slices.DeleteFunc(d.Stamps[i].Fallback, func(r geo.RegionID) bool { return r == region })
		}
		d.Backends = slices.DeleteFunc(d.Backends, func(b policy.Backend) bool { return b.Region == region })
	}
}

func clientOf(d *policy.Document, name string) *policy.Client {
	for i := range d.Clients {
		if d.Clients[i].Name == name {
			return &d.Clients[i]
		}
	}
	return nil
}

// withinASecond publishes a change and fails unless what was running is over a
// second after it is in force. It returns when that is so.
func withinASecond(t *testing.T, s *e2e.Stack, change func(*policy.Document), over ...<-chan struct{}) {
	t.Helper()
	s.AwaitPolicy(s.Publish(changed(t, s, change)))
	limit := time.After(time.Second)
	for i, done := range over {
		select {
		case <-done:
		case <-limit:
			t.Fatalf("call %d still runs a second after the policy is in force", i)
		}
	}
}

// running is a call that has begun and would go on for long. Its client is told
// the end: see got.
type running struct {
	done   chan struct{}
	status int
	text   string // that came after the beginning
	err    error
}

// long makes a session's, a stream's and a plain call's answer take minutes.
func long() azuresim.Latency {
	return azuresim.Latency{FirstToken: time.Millisecond, PerToken: 100 * time.Millisecond, Tokens: 1000}
}

func startSession(t *testing.T, g *e2e.Gateway, key string) (*websocket.Conn, *running) {
	t.Helper()
	c, _, err := openSession(t, g, v1Session, key)
	if err != nil {
		t.Fatal(err)
	}
	next(t, c)
	r := &running{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		_, _, r.err = c.Read(limited(t))
	}()
	return c, r
}

func startStream(t *testing.T, g *e2e.Gateway, key string) *running {
	t.Helper()
	resp := post(t, g, key, chatPath, chatBody(true))
	r := &running{done: make(chan struct{}), status: resp.StatusCode}
	begun := bufio.NewReader(resp.Body)
	if _, err := begun.ReadString('\n'); err != nil || r.status != http.StatusOK {
		t.Fatalf("status %d, %v", r.status, err)
	}
	go func() {
		defer close(r.done)
		var text []byte
		text, r.err = io.ReadAll(begun)
		r.text = string(text)
	}()
	return r
}

func startPlain(t *testing.T, s *e2e.Stack, g *e2e.Gateway, key string) *running {
	t.Helper()
	before := s.Arrived()
	r := &running{done: make(chan struct{})}
	go func() {
		defer close(r.done)
		req, _ := http.NewRequestWithContext(limited(t), http.MethodPost, g.URL+chatPath, strings.NewReader(chatBody(false)))
		req.Header.Set("api-key", key)
		resp, err := http.DefaultClient.Do(req)
		if r.err = err; err != nil {
			return
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		r.status, r.text, r.err = resp.StatusCode, string(text), err
	}()
	s.Await("the plain call has arrived", func() bool { return s.Arrived() > before })
	return r
}

func wantEnds(t *testing.T, session, stream, plain *running, status int, code string) {
	t.Helper()
	if websocket.CloseStatus(session.err) != websocket.StatusPolicyViolation {
		t.Errorf("the session ended with %v, want close code 1008", session.err)
	}
	if !strings.Contains(stream.text, code) || strings.Contains(stream.text, "[DONE]") || stream.err == nil {
		t.Errorf("the stream ended with %.300q, %v; want an error event %s and no orderly end", stream.text[max(0, len(stream.text)-300):], stream.err, code)
	}
	if plain.status != status || !strings.Contains(plain.text, code) {
		t.Errorf("the plain call got %d %s, %v; want %d %s", plain.status, plain.text, plain.err, status, code)
	}
}

// P1: when a region leaves the policy, what runs there is ended within a second:
// a session by 1008 both ways, with no further message reaching its backend; a
// stream by an event; a plain call by an answer. What runs elsewhere goes on.
func TestP1ARegionThatLeavesThePolicyGetsNothingMore(t *testing.T) {
	s := e2e.Start(t, e2e.Options{
		Regions: []geo.RegionID{"swedencentral", "francecentral"}, Edit: withRealtime, Latency: long(), Log: io.Discard,
	})
	leaves, stays := s.Gateways[1], s.Gateways[0]
	c, session := startSession(t, leaves, s.Key)
	stream, plain := startStream(t, leaves, s.Key), startPlain(t, s, leaves, s.Key)
	other, otherSession := startSession(t, stays, s.Key)

	backend := s.Sim.Instance("francecentral-ptu")
	withinASecond(t, s, withoutRegion("francecentral", "FR"), session.done, stream.done, plain.done)
	wantEnds(t, session, stream, plain, http.StatusServiceUnavailable, "no_backend_in_boundary")
	if err := c.Write(limited(t), websocket.MessageText, []byte(`{"type":"late"}`)); err == nil {
		t.Error("a message is taken after the end")
	}
	s.Await("the backend's side is closed", func() bool {
		return backend.InFlight() == 0 && s.Sim.Instance("francecentral-std").InFlight() == 0
	})
	for _, r := range calls(backend) {
		if r.Operation == "Realtime" && r.CloseCode != 1008 {
			t.Errorf("the backend's side of the session was closed with %d, want 1008", r.CloseCode)
		}
	}
	if err := other.Write(limited(t), websocket.MessageText, []byte(`{"type":"x"}`)); err != nil {
		t.Error(err)
	}
	<-otherSession.done
	if otherSession.err != nil {
		t.Errorf("a session in a region that stays ended: %v", otherSession.err)
	}
}

// After the policy is in force not one message reaches a backend that it does not
// have, however fast they are sent: the backend's echoes count them.
func TestP1NoMessageOvertakesThePolicy(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Regions: []geo.RegionID{"swedencentral", "francecentral"}, Edit: withRealtime, Log: io.Discard})
	g, backend := s.Gateways[1], s.Sim.Instance("francecentral-ptu")
	c, _, err := openSession(t, g, v1Session, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for c.Write(limited(t), websocket.MessageText, []byte(`{"type":"input_audio_buffer.append","audio":"AAAA"}`)) == nil {
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			if _, _, err := c.Read(limited(t)); err != nil {
				return
			}
		}
	}()
	s.Await("messages flow", func() bool { return s.Sim.Instance("francecentral-ptu").InFlight() == 1 })
	withinASecond(t, s, withoutRegion("francecentral", "FR"), ended)
	s.Await("the backend's side is closed", func() bool { return backend.InFlight() == 0 })
}

// A client that was removed, whose key was replaced or whose grant was withdrawn,
// and a route that was removed: each ends what runs, and nobody else's.
func TestP1WhatIsWithdrawnEndsWhatRuns(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime, Latency: long(), Log: io.Discard, Clients: []string{"leaver"}})
	g := s.Gateways[0]
	_, bystander := startSession(t, g, s.Key)
	original := s.Policy
	for _, tt := range []struct {
		name   string
		change func(*policy.Document)
		status int
		code   string
	}{
		{"the client is removed", func(d *policy.Document) {
			d.Clients = slices.DeleteFunc(d.Clients, func(c policy.Client) bool { return c.Name == "leaver" })
		}, http.StatusForbidden, "credential_revoked"},
		{"its key is replaced", func(d *policy.Document) {
			clientOf(d, "leaver").Keys[0].SHA256 = strings.Repeat("0a", 32)
		}, http.StatusForbidden, "credential_revoked"},
		{"its routes are withdrawn", func(d *policy.Document) {
			clientOf(d, "leaver").Routes = []string{"text-embedding-3-large"}
		}, http.StatusForbidden, "route_forbidden"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.AwaitPolicy(s.Publish(original))
			_, session := startSession(t, g, s.Keys["leaver"])
			stream, plain := startStream(t, g, s.Keys["leaver"]), startPlain(t, s, g, s.Keys["leaver"])
			withinASecond(t, s, tt.change, session.done, stream.done, plain.done)
			wantEnds(t, session, stream, plain, tt.status, tt.code)
		})
	}
	select {
	case <-bystander.done:
		t.Errorf("a session of another client ended: %v", bystander.err)
	default:
	}
	t.Run("the route is removed", func(t *testing.T) {
		s.AwaitPolicy(s.Publish(original))
		stream, plain := startStream(t, g, s.Keys["leaver"]), startPlain(t, s, g, s.Keys["leaver"])
		withinASecond(t, s, func(d *policy.Document) {
			gone := func(name string) bool { return name != "text-embedding-3-large" }
			d.Routes = slices.DeleteFunc(d.Routes, func(r policy.Route) bool { return gone(r.Name) })
			for i := range d.Clients {
				d.Clients[i].Routes = slices.DeleteFunc(d.Clients[i].Routes, gone)
			}
		}, bystander.done, stream.done, plain.done)
		wantEnds(t, bystander, stream, plain, http.StatusNotFound, "route_not_found")
	})
}

// A key that expires while a session runs ends the session: no policy has to come.
func TestP1AKeyThatExpiresEndsItsSession(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Edit: withRealtime, Log: io.Discard})
	s.AwaitPolicy(s.Publish(changed(t, s, func(d *policy.Document) {
		d.Clients[0].Keys[0].NotAfter = time.Now().Add(2 * time.Second).UTC()
	})))
	_, session := startSession(t, s.Gateways[0], s.Key)
	select {
	case <-session.done:
	case <-time.After(e2e.Limit):
		t.Fatal("the session goes on")
	}
	if websocket.CloseStatus(session.err) != websocket.StatusPolicyViolation {
		t.Errorf("the session ended with %v, want close code 1008", session.err)
	}
}

// unread is how many bytes have come on a connection that nobody has read.
func unread(t *testing.T, c net.Conn) int {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n, all := 0, make([]byte, 16<<20)
	if err := raw.Control(func(fd uintptr) { n, _, _ = syscall.Recvfrom(int(fd), all, syscall.MSG_PEEK) }); err != nil {
		t.Fatal(err)
	}
	return n
}

// A client that does not read cannot hold its stream open: a second after the
// policy is in force the gateway is rid of it, and so is the backend.
func TestP1AClientThatDoesNotReadIsEndedToo(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Log: io.Discard, Latency: azuresim.Latency{Tokens: 200_000}})
	g, backend := s.Gateways[0], s.Sim.Instance("swedencentral-ptu")
	conn := e2e.Dial(t, g.URL)
	body := chatBody(true)
	_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\napi-key: %s\r\nContent-Length: %d\r\n\r\n%s", chatPath, s.Key, len(body), body)
	s.Await("the stream runs", func() bool { return backend.InFlight() == 1 })
	last := -1
	s.Await("the client's buffers are full", func() bool {
		before := last
		last = unread(t, conn)
		return last > 0 && last == before
	})
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.Await("nothing runs", func() bool { return s.Status(g).InFlight == 0 && backend.InFlight() == 0 })
	}()
	withinASecond(t, s, func(d *policy.Document) { d.Clients[0].Keys[0].SHA256 = strings.Repeat("0a", 32) }, over)
}

// A gateway that the policy has no stamp for, such as one whose region is
// mistyped, says so at once.
func TestAGatewayWithoutAStampSaysSo(t *testing.T) {
	var log sharedLog
	s := e2e.Start(t, e2e.Options{Regions: []geo.RegionID{"swedencentral", "francecentral"}, Log: &log})
	const words = "has no stamp for this gateway's region"
	if strings.Contains(log.String(), words) {
		t.Error("said of a policy that has one")
	}
	s.AwaitPolicy(s.Publish(changed(t, s, withoutRegion("francecentral", "FR"))))
	s.Await("the gateway says so", func() bool { return strings.Contains(log.String(), words) })
}
