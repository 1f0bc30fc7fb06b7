package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

func TestAConfigurationIsRefusedWithEveryFault(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	https := []string{"https://h:1"}
	for name, c := range map[string]struct {
		cfg   store.Config
		words []string
	}{
		"no endpoint":           {store.Config{}, []string{"etcd.endpoints is empty"}},
		"no scheme":             {store.Config{Endpoints: []string{"h:2379"}}, []string{"etcd.endpoints[0]: want https://host:port"}},
		"another scheme":        {store.Config{Endpoints: []string{"https://h:1", "unix:///x"}}, []string{"etcd.endpoints[1]"}},
		"a path":                {store.Config{Endpoints: []string{"https://h:1/v3"}}, []string{"etcd.endpoints[0]"}},
		"a password":            {store.Config{Endpoints: []string{"https://root:secret@h:1"}}, []string{"etcd.endpoints[0]"}},
		"nothing":               {store.Config{Endpoints: []string{""}}, []string{"etcd.endpoints[0]"}},
		"TLS files for none":    {store.Config{Endpoints: []string{"http://h:1"}, CAFile: text}, []string{"etcd.endpoints[0]", "is without TLS", "use https"}},
		"half a certificate":    {store.Config{Endpoints: https, CertFile: text}, []string{"etcd.certFile and etcd.keyFile belong together"}},
		"the other half":        {store.Config{Endpoints: https, KeyFile: text}, []string{"belong together"}},
		"two faults":            {store.Config{Endpoints: []string{"x"}, KeyFile: text}, []string{"etcd.endpoints[0]", "belong together"}},
		"no such authority":     {store.Config{Endpoints: https, CAFile: filepath.Join(dir, "none")}, []string{"etcd.caFile", "none"}},
		"an authority of text":  {store.Config{Endpoints: https, CAFile: text}, []string{"etcd.caFile", "holds no certificate"}},
		"no such certificate":   {store.Config{Endpoints: https, CertFile: filepath.Join(dir, "none"), KeyFile: text}, []string{"etcd.certFile", "none"}},
		"a certificate of text": {store.Config{Endpoints: https, CertFile: text, KeyFile: text}, []string{"etcd.certFile, etcd.keyFile"}},
	} {
		checked := c.cfg.Check()
		s, opened := store.Open(c.cfg, zerolog.Nop())
		if s != nil || checked == nil || opened == nil || opened.Error() != "open store: "+checked.Error() {
			t.Errorf("%s: Check says %v, Open %v", name, checked, opened)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(checked.Error(), w) {
				t.Errorf("%s: %v lacks %q", name, checked, w)
			}
		}
		if strings.Contains(checked.Error(), "secret") {
			t.Errorf("%s: a password is repeated: %v", name, checked)
		}
	}
	for _, good := range []store.Config{{Endpoints: https}, {Endpoints: []string{"http://127.0.0.1:1", "http://127.0.0.1:2/"}}} {
		if err := good.Check(); err != nil {
			t.Errorf("%v: %v", good.Endpoints, err)
		}
	}
}

// A process starts while its etcd is down; and what it opened says where.
func TestOpeningDoesNotWaitForEtcd(t *testing.T) {
	t.Parallel()
	endpoints := []string{"http://127.0.0.1:1"}
	s, err := store.Open(store.Config{Endpoints: endpoints, Timing: quick()}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	got := s.Endpoints()
	if len(got) != 1 || got[0] != endpoints[0] {
		t.Errorf("endpoints %v", got)
	}
	got[0] = "changed"
	if s.Endpoints()[0] != endpoints[0] {
		t.Error("a caller can change the store's own endpoints")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// What makes no sense is refused before anything is sent, whoever asks.
func TestNothingIsSentForWhatMakesNoSense(t *testing.T) {
	t.Parallel()
	s, err := store.Open(store.Config{
		Endpoints: []string{"http://127.0.0.1:1"},
		Intercept: func(_ context.Context, method string, _ func(context.Context) error) error {
			t.Errorf("%s was called", method)
			return errors.New("it was sent")
		},
	}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, b := range []geo.Boundary{"", ".", "..", "a/b", "../us", "e u", "eu\x00", geo.Boundary(strings.Repeat("x", 201))} {
		for name, call := range map[string]func() error{
			"Current": func() error { _, err := s.Current(ctx, b); return err },
			"At":      func() error { _, err := s.At(ctx, b, 1); return err },
			"History": func() error { _, err := s.History(ctx, b, 1); return err },
			"Publish": func() error {
				_, err := s.Publish(ctx, b, store.PublishRequest{Document: []byte("x")}, key)
				return err
			},
			"Audit":        func() error { _, err := s.Audit(ctx, b, 1); return err },
			"Orders":       func() error { _, err := s.Orders(ctx, b); return err },
			"DeleteOrder":  func() error { return s.DeleteOrder(ctx, b, "drain-backend-x", "ann") },
			"ListPresence": func() error { _, err := s.ListPresence(ctx, b); return err },
			"Digests":      func() error { _, err := s.Digests(ctx, b); return err },
			"PutDigest":    func() error { return s.PutDigest(ctx, b, "westeurope", json.RawMessage("{}")) },
			"Announce": func() error {
				return s.AnnouncePresence(ctx, b, func() store.Presence { return store.Presence{Gateway: "g", Region: "r"} }, nil)
			},
		} {
			err := call()
			if _, ok := errors.AsType[*store.InvalidError](err); !ok {
				t.Errorf("%s of boundary %q: %v", name, b, err)
			}
		}
	}
	for name, err := range map[string]error{
		"an author without end":    errorOf(s.Publish(ctx, "eu", store.PublishRequest{Author: strings.Repeat("x", 201)}, key)),
		"a message without end":    errorOf(s.Publish(ctx, "eu", store.PublishRequest{Message: strings.Repeat("x", 2001)}, key)),
		"an ID that climbs":        errorOf(s.Publish(ctx, "eu", store.PublishRequest{ID: "../x"}, key)),
		"a document without end":   errorOf(s.Publish(ctx, "eu", store.PublishRequest{Document: make([]byte, policy.MaxRawBytes+1)}, key)),
		"an order that climbs":     s.DeleteOrder(ctx, "eu", "../policy/current", "ann"),
		"a withdrawal by a crowd":  s.DeleteOrder(ctx, "eu", "drain-backend-x", strings.Repeat("x", 201)),
		"a digest that is no JSON": s.PutDigest(ctx, "eu", "westeurope", json.RawMessage("{")),
		"a digest without end":     s.PutDigest(ctx, "eu", "westeurope", json.RawMessage(`"`+strings.Repeat("x", 256<<10)+`"`)),
		"a digest that climbs":     s.PutDigest(ctx, "eu", "a/b", json.RawMessage("{}")),
		"a gateway that climbs": s.AnnouncePresence(ctx, "eu", func() store.Presence {
			return store.Presence{Gateway: "../x", Region: "r"}
		}, nil),
	} {
		if _, ok := errors.AsType[*store.InvalidError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func errorOf(_ store.Envelope, err error) error { return err }
