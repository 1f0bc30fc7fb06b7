package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

func TestDrainTellsTheOrderAndUndrainItsEnd(t *testing.T) {
	p := newPlane(t)
	b := string(p.boundary)
	p.apply(t, "payroll")
	var o client.Order
	p.stampctl(t, "drain", "backend", "swc-ptu", "-b", b, "--reason", "new key", "--author", "ann", "--for", "90m").done(t, &o)
	if o.ID != "drain-backend-swc-ptu" || o.Kind != "backend" || o.Name != "swc-ptu" || o.Action != "drain" || o.Reason != "new key" || o.Author != "ann" ||
		!o.Genuine || o.Warning != "" || o.Expires.Sub(o.Created) != 90*time.Minute {
		t.Errorf("order %+v", o)
	}
	var longer client.Order
	p.stampctl(t, "drain", "backend", "swc-ptu", "-b", b, "--reason", "still").done(t, &longer)
	if longer.ID != o.ID || longer.Expires.Sub(longer.Created) != 24*time.Hour || longer.Author == "" {
		t.Errorf("again, when nothing is said: %+v", longer)
	}
	var s boundaries
	p.stampctl(t, "status", b).done(t, &s)
	if len(s.Boundaries) != 1 || len(s.Boundaries[0].Orders) != 1 || s.Boundaries[0].Orders[0].Reason != "still" {
		t.Errorf("status %+v", s)
	}
	var gone struct {
		ID        string `json:"id"`
		Withdrawn bool   `json:"withdrawn"`
	}
	p.stampctl(t, "undrain", "backend", "swc-ptu", "-b", b, "--author", "bob").done(t, &gone)
	if gone.ID != o.ID || !gone.Withdrawn {
		t.Errorf("undrained: %+v", gone)
	}
	p.stampctl(t, "undrain", "backend", "swc-ptu", "-b", b).fails(t, command.Failed, "backend swc-ptu of boundary "+b+" is not drained", "stampctl status "+b)

	var a client.AuditReply
	p.stampctl(t, "audit", b, "--limit", "3").done(t, &a)
	if len(a.Records) != 3 || a.Records[0].Action != "withdraw" || a.Records[0].Author != "bob" || a.Records[2].Message != "new key" || a.Records[2].Author != "ann" {
		t.Errorf("audit %+v", a.Records)
	}
}

func TestADrainOfWhatIsNotThereIsWarnedOfBesideItsResult(t *testing.T) {
	p := newPlane(t)
	p.apply(t, "payroll")
	r := p.stampctl(t, "drain", "region", "atlantis", "-b", string(p.boundary), "--reason", "x")
	var o client.Order
	r.done(t, &o)
	if !strings.HasPrefix(r.err, "warning: boundary ") || !strings.Contains(r.err, `no region "atlantis"`) || o.Warning == "" {
		t.Errorf("%+v, stderr %q", o, r.err)
	}
	p.stampctl(t, "drain", "backend", "a/b", "-b", string(p.boundary), "--reason", "x").fails(t, command.Failed, "order name", "(invalid_request)")
	p.stampctl(t, "drain", "backend", "x", "-b", string(p.boundary), "--reason", "x", "--for", "2200h").fails(t, command.Failed, "within 2160h")
	p.stampctl(t, "drain", "backend", "x", "-b", string(p.boundary), "--reason", "x", "--for", "10ms").fails(t, command.Failed, "at least a second")
}

func TestStatusOfOneBoundaryHasTheShapeOfAll(t *testing.T) {
	p := newPlane(t)
	p.apply(t, "payroll")
	var one, all boundaries
	p.stampctl(t, "status", string(p.boundary)).done(t, &one)
	p.stampctl(t, "status").done(t, &all)
	if len(one.Boundaries) != 1 || len(all.Boundaries) != 1 {
		t.Fatalf("one %+v\nall %+v", one, all)
	}
	for name, s := range map[string]boundaries{"one": one, "all": all} {
		if b := s.Boundaries[0]; s.PublicKey != p.Key.Public().String() || b.PublicKey != "" || b.Boundary != p.boundary || b.Policy == nil || b.Policy.Serial != 1 || !b.Reachable {
			t.Errorf("%s: %+v", name, s)
		}
	}
	p.stampctl(t, "status", "mars").fails(t, command.Failed, "no boundary of this name is served here")
}

// That an etcd is away is a result, and no failure of the question.
func TestStatusOfABoundaryWhoseEtcdIsAwayIsAResult(t *testing.T) {
	line := &apitest.Line{}
	line.Cut(true)
	b := apitest.Boundary(t)
	p := plane{apitest.New(t, apitest.Config{
		Etcd: endpoints, Boundaries: []geo.Boundary{b},
		Store: func(_ geo.Boundary, c *store.Config) { c.Intercept = line.Intercept },
	}), b, file(t, "token", apitest.Token)}
	var s boundaries
	p.stampctl(t, "status").done(t, &s)
	if s.Boundaries[0].Reachable || s.Boundaries[0].Problem == "" {
		t.Errorf("%+v", s)
	}
	r := p.text(t, "status", string(b))
	want := fmt.Sprintf("boundary %s: ! its etcd cannot be reached: etcd is not available (gateways go on with what they have)\n", b)
	if r.code != command.Done || r.out != want {
		t.Errorf("as text: %+v, want %q", r, want)
	}
	p.stampctl(t, "policy", "get", string(b)).fails(t, command.Failed, "nothing was changed (etcd_unavailable)")
}

// Reasons, messages, names and what gateways say of themselves are written by
// others: none of it moves the cursor, colours a line or forges one.
func TestWhatOthersWroteCannotForgeALine(t *testing.T) {
	const evil = `\u001b[31mred\u001b[0m\nboundary us: policy 9\r\u202eevil\u0000\u009b2J`
	status := `{"publicKey":"k","boundaries":[{"boundary":"eu","reachable":true,
		"policy":{"serial":1,"digest":"d","author":"EVIL","message":"EVIL","genuine":true},
		"gateways":[{"name":"EVIL","region":"EVIL","appliedSerial":0,"refusedSerial":1,"refusedReason":"EVIL","unkept":"EVIL","health":"EVIL"}],
		"orders":[{"kind":"EVIL","name":"EVIL","author":"EVIL","reason":"EVIL"}]}]}`
	for name, c := range map[string]struct {
		body string
		args []string
	}{
		"status":      {status, []string{"status"}},
		"a problem":   {`{"boundaries":[{"boundary":"eu","reachable":true,"problem":"EVIL"}]}`, []string{"status"}},
		"a forger":    {`{"boundaries":[{"boundary":"eu","reachable":true,"policy":{"serial":1,"problem":"EVIL"}}]}`, []string{"status"}},
		"history":     {`{"history":[{"serial":1,"author":"EVIL","message":"EVIL","digest":"EVIL","genuine":true},{"serial":2,"problem":"EVIL"}]}`, []string{"policy", "history", "eu"}},
		"audit":       {`{"records":[{"author":"EVIL","action":"EVIL","subject":"EVIL","message":"EVIL"}]}`, []string{"audit", "eu"}},
		"a warning":   {`{"kind":"backend","name":"x","warning":"EVIL","genuine":true}`, []string{"drain", "backend", "x", "-b", "eu", "--reason", "y"}},
		"a note":      {`{"serial":1,"note":"EVIL","warnings":[{"path":"EVIL","text":"EVIL"}]}`, []string{"policy", "rollback", "eu", "1"}},
		"get, forged": {`{"serial":1,"problem":"EVIL"}`, []string{"policy", "get", "eu"}},
	} {
		p := scripted(t, http.StatusOK, strings.ReplaceAll(c.body, "EVIL", evil))
		r := p.text(t, c.args...)
		text := r.out + r.err
		if !strings.Contains(text, "evil") {
			t.Errorf("%s does not show what was written: %q", name, text)
		}
		if strings.ContainsAny(text, "\x1b\r\x00\u009b\u202e") || strings.Contains(text, "\nboundary us") {
			t.Errorf("%s: %q", name, text)
		}
	}
}

func TestTheTokenIsLookedForInThisOrder(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		_, _ = w.Write([]byte(`{"boundaries":[]}`))
	}))
	defer s.Close()
	byFlag, byVariable := file(t, "flag", "of-the-flag\n"), file(t, "variable", "  of-the-file-variable  \n")
	ask := func(want string, args ...string) {
		t.Helper()
		got = ""
		r := stampctl(t, append(args, "status", "--server", s.URL)...)
		if got != want || r.code != command.Done {
			t.Errorf("presented %q, want %q: %+v", got, want, r)
		}
	}
	t.Setenv(envToken, " of-the-variable\n")
	ask("Bearer of-the-variable")
	t.Setenv(envTokenFile, byVariable)
	ask("Bearer of-the-file-variable")
	ask("Bearer of-the-flag", "--token-file", byFlag)
	t.Setenv(envServer, "http://127.0.0.1:1") // the flag counts
	ask("Bearer of-the-flag", "--token-file", byFlag)
	for name, text := range map[string]string{"empty": "", "blank": " \n", "lines": "a\nb\n"} {
		path := file(t, name, text)
		stampctl(t, "status", "--server", s.URL, "--token-file", path).fails(t, command.Failed, path, "one line with a token")
	}
	stampctl(t, "status", "--server", s.URL, "--token-file", file(t, "x", "y")+".none").fails(t, command.Failed, "read the token", "no such file")
}

func TestATokenInClearTextIsWarnedOf(t *testing.T) {
	token := file(t, "token", "x")
	for server, warned := range map[string]bool{
		"http://127.0.0.1:1": false, "http://localhost:1": false, "http://[::1]:1": false, "https://192.0.2.1": false,
		"http://0.0.0.0:1": true, "http://127.0.0.1.invalid:1": true, "http://localhost.invalid:1": true,
	} {
		g := &globals{streams: streams{err: &strings.Builder{}}, server: server, tokenFile: token}
		c, err := g.connect()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := strings.Contains(fmt.Sprint(g.err), "the token goes to"); got != warned {
			t.Errorf("%s: said %q", server, g.err)
		}
	}
}

// A stack file comes with the folder that one happens to be in: it names this
// machine or nothing.
func TestAStackFileNamesThisMachineOrNothing(t *testing.T) {
	for url, good := range map[string]bool{
		"http://127.0.0.1:9400": true, "http://localhost:9400": true, "https://[::1]:1": true,
		"https://example.net": false, "http://127.0.0.1.example.net": false, "http://user@example.net": false, "": false, "http://10.0.0.1": false,
	} {
		t.Setenv(envStack, file(t, "stack.json", fmt.Sprintf(`{"controlPlane":{"url":%q,"adminToken":"t"}}`, url)))
		server, token, err := (&globals{}).whereTo()
		if good && (err != nil || server != url || token.Reveal() != "t") {
			t.Errorf("%s: %s, %v", url, server, err)
		}
		if !good && (err == nil || !strings.Contains(err.Error(), "not on this machine")) {
			t.Errorf("%s: %v", url, err)
		}
	}
	// A token of one's own goes before the stack's.
	t.Setenv(envStack, file(t, "stack.json", `{"controlPlane":{"url":"http://127.0.0.1:1","adminToken":"t"}}`))
	t.Setenv(envToken, "mine")
	if _, token, err := (&globals{}).whereTo(); err != nil || token.Reveal() != "mine" {
		t.Errorf("%v", err)
	}
	t.Setenv(envStack, file(t, "stack.json", `{"controlPlane":`))
	if _, _, err := (&globals{}).whereTo(); err == nil || !strings.Contains(err.Error(), "stack file") {
		t.Errorf("half a file: %v", err)
	}
}
