package client_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

func TestAURLThatIsNoneIsRefusedBeforeAnyCall(t *testing.T) {
	for _, url := range []string{
		"", "127.0.0.1:9400", "localhost", "not-a-url", "ftp://h", "http://", "https:///path", "unix:///run/x", "//h",
		"http://user:pass@h", "http://h?x=1", "http://h/#frag", "http://[::1", "http://h:port", " http://h", "http://h\n",
	} {
		_, err := client.New(client.Config{URL: url, Token: secret.New(token)})
		if err == nil || !strings.Contains(err.Error(), "want https://host[:port]") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestAURLMayHaveAPathAndSlashesAtItsEnd(t *testing.T) {
	p := saying(t, http.StatusOK, `{}`)
	for suffix, want := range map[string]string{"": "", "/": "", "//": "", "/stampgate": "/stampgate", "/a/b/": "/a/b"} {
		c := clientOf(t, client.Config{URL: p.URL + suffix, Token: secret.New(token)})
		if _, err := c.Status(t.Context()); err != nil {
			t.Errorf("%q: %v", suffix, err)
		}
		calls := p.asked()
		if got := calls[len(calls)-1].Path; got != want+"/api/v1/status" {
			t.Errorf("%q: asked %s", suffix, got)
		}
	}
}

// What goes over the wire, call by call.
func TestEachCallAsksForWhatItSays(t *testing.T) {
	const base = "/api/v1/boundaries/eu"
	p := saying(t, http.StatusOK, `{}`)
	c := p.client(t)
	ctx := t.Context()
	for name, k := range map[string]struct {
		do   func() error
		want call
	}{
		"validate": {
			func() error { _, err := c.Validate(ctx, eu, []byte("doc: 1")); return err },
			call{Method: "POST", Path: base + "/policy/validate", ContentType: "application/yaml", Body: "doc: 1"},
		},
		"publish": {
			func() error { _, err := c.Publish(ctx, eu, []byte("doc: 1"), client.PublishOptions{}); return err },
			call{Method: "POST", Path: base + "/policy", ContentType: "application/yaml", Body: "doc: 1"},
		},
		"publish with everything": {
			func() error {
				_, err := c.Publish(ctx, eu, []byte("x"), client.PublishOptions{Author: "a&b", Message: "1 + 1\n= 2?", ExpectSerial: new(uint64(0)), Again: true})
				return err
			},
			call{
				Method: "POST", Path: base + "/policy", ContentType: "application/yaml", Body: "x",
				Query: "again=true&author=a%26b&expectSerial=0&message=1+%2B+1%0A%3D+2%3F",
			},
		},
		"publish nothing": {
			func() error { _, err := c.Publish(ctx, eu, nil, client.PublishOptions{}); return err },
			call{Method: "POST", Path: base + "/policy", ContentType: "application/yaml"},
		},
		"policy":           {func() error { _, err := c.Policy(ctx, eu, 0); return err }, call{Method: "GET", Path: base + "/policy"}},
		"policy of old":    {func() error { _, err := c.Policy(ctx, eu, 1<<63); return err }, call{Method: "GET", Path: base + "/policy", Query: "serial=9223372036854775808"}},
		"history":          {func() error { _, err := c.History(ctx, eu, 0); return err }, call{Method: "GET", Path: base + "/policy/history"}},
		"history, five":    {func() error { _, err := c.History(ctx, eu, 5); return err }, call{Method: "GET", Path: base + "/policy/history", Query: "limit=5"}},
		"history, minus":   {func() error { _, err := c.History(ctx, eu, -5); return err }, call{Method: "GET", Path: base + "/policy/history"}},
		"status":           {func() error { _, err := c.Status(ctx); return err }, call{Method: "GET", Path: "/api/v1/status"}},
		"boundary status":  {func() error { _, err := c.BoundaryStatus(ctx, eu); return err }, call{Method: "GET", Path: base + "/status"}},
		"orders":           {func() error { _, err := c.Orders(ctx, eu); return err }, call{Method: "GET", Path: base + "/orders"}},
		"audit":            {func() error { _, err := c.Audit(ctx, eu, 7); return err }, call{Method: "GET", Path: base + "/audit", Query: "limit=7"}},
		"withdraw":         {func() error { return c.DeleteOrder(ctx, eu, "drain-backend-x", "") }, call{Method: "DELETE", Path: base + "/orders/drain-backend-x"}},
		"withdraw, signed": {func() error { return c.DeleteOrder(ctx, eu, "../../policy?x", "ann") }, call{Method: "DELETE", Path: base + "/orders/..%2F..%2Fpolicy%3Fx", Query: "author=ann"}},
		"order": {
			func() error {
				_, err := c.PutOrder(ctx, eu, client.OrderRequest{Kind: "backend", Name: "x"})
				return err
			},
			call{Method: "POST", Path: base + "/orders", ContentType: "application/json", Body: `{"kind":"backend","name":"x"}`},
		},
		"roll back": {
			func() error {
				_, err := c.Rollback(ctx, eu, client.RollbackRequest{Serial: 3, Author: "bob", Message: "m", ExpectSerial: new(uint64(4))})
				return err
			},
			call{Method: "POST", Path: base + "/policy/rollback", ContentType: "application/json", Body: `{"serial":3,"author":"bob","message":"m","expectSerial":4}`},
		},
		"a boundary that climbs": {
			func() error { _, err := c.BoundaryStatus(ctx, "eu/../us?x#y"); return err },
			call{Method: "GET", Path: "/api/v1/boundaries/eu%2F..%2Fus%3Fx%23y/status"},
		},
	} {
		if err := k.do(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		k.want.Accept, k.want.Authorization = "application/json", "Bearer "+token
		calls := p.asked()
		if got := calls[len(calls)-1]; got != k.want {
			t.Errorf("%s: asked\n%+v\nwant\n%+v", name, got, k.want)
		}
	}
}

func TestAnAnswerIsReadIntoItsValue(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	const publication = `"serial":7,"boundary":"eu","digest":"d","author":"ann","message":"why","time":"2026-05-04T03:02:01Z","genuine":true`
	isPublication := func(p client.Publication) bool {
		return p.Serial == 7 && p.Boundary == eu && p.Digest == "d" && p.Author == "ann" && p.Message == "why" && p.Time.Equal(at) && p.Genuine
	}
	for name, k := range map[string]struct {
		body string
		read func(*client.Client) (bool, error)
	}{
		"verdict": {`{"valid":true,"boundary":"eu","digest":"d","faults":[],"warnings":[{"path":"p","text":"t"}],"newer":1}`, func(c *client.Client) (bool, error) {
			v, err := c.Validate(t.Context(), eu, nil)
			return v.Valid && v.Boundary == eu && v.Digest == "d" && v.Warnings[0].Path == "p", err
		}},
		"publication": {`{` + publication + `,"unchanged":true,"note":"n","newer":{}}`, func(c *client.Client) (bool, error) {
			p, err := c.Publish(t.Context(), eu, nil, client.PublishOptions{})
			return isPublication(p) && p.Unchanged && p.Note == "n", err
		}},
		"policy": {`{` + publication + `,"document":"a: 1\n"}`, func(c *client.Client) (bool, error) {
			p, err := c.Policy(t.Context(), eu, 0)
			return isPublication(p.Publication) && p.Document == "a: 1\n", err
		}},
		"history": {`{"history":[{` + publication + `}]}`, func(c *client.Client) (bool, error) {
			h, err := c.History(t.Context(), eu, 0)
			return len(h) == 1 && isPublication(h[0]), err
		}},
		"status": {`{"version":"v","publicKey":"k","boundaries":[{"boundary":"eu","reachable":true,"policy":null,"gateways":[{"name":"g","current":true}],"orders":[],"stamps":{"westeurope":{"a":1}}}]}`, func(c *client.Client) (bool, error) {
			s, err := c.Status(t.Context())
			b := s.Boundaries[0]
			return s.Version == "v" && s.PublicKey == "k" && b.Reachable && b.Policy == nil && b.Gateways[0].Current && string(b.Stamps["westeurope"]) == `{"a":1}`, err
		}},
		"order": {`{"id":"i","kind":"backend","name":"x","action":"drain","created":"2026-05-04T03:02:01Z","expires":"2026-05-04T05:02:01Z","genuine":true,"warning":"w"}`, func(c *client.Client) (bool, error) {
			o, err := c.PutOrder(t.Context(), eu, client.OrderRequest{})
			return o.ID == "i" && o.Expires.Sub(o.Created) == 2*time.Hour && o.Genuine && o.Warning == "w", err
		}},
		"audit": {`{"records":[{"time":"2026-05-04T03:02:01Z","author":"ann","action":"publish","subject":"policy 7"}]}`, func(c *client.Client) (bool, error) {
			r, err := c.Audit(t.Context(), eu, 0)
			return len(r) == 1 && r[0].Subject == "policy 7" && r[0].Time.Equal(at), err
		}},
	} {
		if ok, err := k.read(saying(t, http.StatusOK, k.body).client(t)); err != nil || !ok {
			t.Errorf("%s: read wrongly, %v", name, err)
		}
	}
}

func TestTheIDOfADrainIsTheOneThatTheServerMakes(t *testing.T) {
	if got := client.DrainID("backend", "swc-ptu"); got != "drain-backend-swc-ptu" {
		t.Errorf("%s", got)
	}
}

func TestTheCertificateAuthorityIsTheOneInTheFile(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	defer server.Close()
	dir := t.TempDir()
	ca, rubbish := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "rubbish")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := errors.Join(os.WriteFile(ca, block, 0o600), os.WriteFile(rubbish, []byte("no PEM"), 0o600)); err != nil {
		t.Fatal(err)
	}
	cfg := client.Config{URL: server.URL, Token: secret.New(token), CAFile: ca}
	if _, err := clientOf(t, cfg).Status(t.Context()); err != nil {
		t.Errorf("with its own authority: %v", err)
	}
	cfg.CAFile = ""
	_, err := clientOf(t, cfg).Status(t.Context())
	if u, ok := errors.AsType[*client.UnreachableError](err); !ok || u.URL != server.URL || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("with the system's: %v", err)
	}
	for file, want := range map[string]string{rubbish: "holds no certificate", filepath.Join(dir, "none"): "read CA"} {
		cfg.CAFile = file
		if _, err := client.New(cfg); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestACallEndsWithItsContextOrItsTimeout(t *testing.T) {
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	p := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	c := p.client(t)
	go func() { _, err := c.Status(ctx); ended <- err }()
	<-arrived
	cancel()
	err := <-ended
	if u, ok := errors.AsType[*client.UnreachableError](err); !ok || u.Uncertain || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	hasty := clientOf(t, client.Config{URL: p.URL, Token: secret.New(token), Timeout: 20 * time.Millisecond})
	for name, do := range methods(hasty) {
		err := do(t)
		u, ok := errors.AsType[*client.UnreachableError](err)
		if !ok || u.Uncertain != changing(name) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, too slow: %v", name, err)
		}
	}
}

func TestClientsAreUsedByManyAtOnce(t *testing.T) {
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		name := geo.Boundary(strings.Split(r.URL.Path, "/")[4])
		_, _ = w.Write([]byte(`{"boundary":"` + string(name) + `"}`))
	}).client(t)
	ended := make(chan error)
	for i := range 20 {
		go func() {
			name := geo.Boundary(strings.Repeat("x", i+1))
			b, err := c.BoundaryStatus(t.Context(), name)
			if err == nil && b.Boundary != name {
				err = errors.New("got the answer of another call")
			}
			ended <- err
		}()
	}
	for range 20 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
