package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

const (
	token              = "the token of the tests"
	eu    geo.Boundary = "eu"
)

// endpoints of the etcd of the tests that ask a real control plane.
var endpoints []string

func TestMain(m *testing.M) {
	os.Exit(apitest.WithEtcd(m, func(e []string) { endpoints = e }))
}

// A call is what a control plane was asked.
type call struct {
	Method, Path, Query, Accept, ContentType, Authorization, Body string
}

// A peer answers as a test tells it to, and remembers what it was asked.
type peer struct {
	*httptest.Server
	mu    sync.Mutex // guards calls
	calls []call
}

// answering starts a peer.
func answering(t *testing.T, answer http.HandlerFunc) *peer {
	t.Helper()
	p := &peer{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.calls = append(p.calls, call{
			r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Accept"), r.Header.Get("Content-Type"),
			r.Header.Get("Authorization"), string(body),
		})
		p.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// saying answers every call with a status and a body.
func saying(t *testing.T, status int, body string) *peer {
	t.Helper()
	return answering(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func (p *peer) asked() []call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]call(nil), p.calls...)
}

func (p *peer) client(t *testing.T) *client.Client {
	t.Helper()
	return clientOf(t, client.Config{URL: p.URL, Token: secret.New(token)})
}

func clientOf(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// methods are all calls of the client, by name.
func methods(c *client.Client) map[string]func(*testing.T) error {
	return map[string]func(*testing.T) error{
		"Validate": func(t *testing.T) error { _, err := c.Validate(t.Context(), eu, []byte("doc")); return err },
		"Publish": func(t *testing.T) error {
			_, err := c.Publish(t.Context(), eu, []byte("doc"), client.PublishOptions{})
			return err
		},
		"Policy":  func(t *testing.T) error { _, err := c.Policy(t.Context(), eu, 0); return err },
		"History": func(t *testing.T) error { _, err := c.History(t.Context(), eu, 0); return err },
		"Rollback": func(t *testing.T) error {
			_, err := c.Rollback(t.Context(), eu, client.RollbackRequest{Serial: 1})
			return err
		},
		"Status":         func(t *testing.T) error { _, err := c.Status(t.Context()); return err },
		"BoundaryStatus": func(t *testing.T) error { _, err := c.BoundaryStatus(t.Context(), eu); return err },
		"PutOrder": func(t *testing.T) error {
			_, err := c.PutOrder(t.Context(), eu, client.OrderRequest{Kind: "backend", Name: "x"})
			return err
		},
		"Orders":      func(t *testing.T) error { _, err := c.Orders(t.Context(), eu); return err },
		"DeleteOrder": func(t *testing.T) error { return c.DeleteOrder(t.Context(), eu, "drain-backend-x", "") },
		"Audit":       func(t *testing.T) error { _, err := c.Audit(t.Context(), eu, 0); return err },
	}
}

// changing are the methods that change something.
func changing(method string) bool {
	switch method {
	case "Validate", "Publish", "Rollback", "PutOrder", "DeleteOrder":
		return true // Validate is a POST: the client cannot know better
	}
	return false
}
