package controlplane_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
)

func TestAPolicyGoesInAndComesOut(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx := t.Context()
	if _, err := r.client.Policy(ctx, "eu", 0); !isNotFound(err) {
		t.Errorf("before any publication: %v", err)
	}
	v, err := r.client.Validate(ctx, "eu", document(t, "a"))
	if err != nil || !v.Valid || v.Digest == "" {
		t.Fatalf("validate: %+v, %v", v, err)
	}
	p := publish(t, r, "a")
	if p.Serial != 1 || p.Digest != v.Digest || !p.Genuine || p.Unchanged || p.Author != "ann" {
		t.Errorf("publication %+v", p)
	}
	if p := publish(t, r, "a"); p.Serial != 1 || !p.Unchanged {
		t.Errorf("the same again: %+v", p)
	}
	publish(t, r, "b")
	got, err := r.client.Policy(ctx, "eu", 0)
	if err != nil || got.Serial != 2 || !got.Genuine || !strings.Contains(got.Document, "payroll-b") {
		t.Fatalf("policy %+v, %v", got, err)
	}
	if got.Document != string(document(t, "b")) || signing.Digest([]byte(got.Document)) != got.Digest {
		t.Errorf("it did not come back as it was written: %s", got.Document)
	}
	if old, err := r.client.Policy(ctx, "eu", 1); err != nil || !strings.Contains(old.Document, "payroll-a") {
		t.Errorf("policy 1: %+v, %v", old, err)
	}
	header := r.bearer()
	header.Set("Accept", "application/yaml")
	if status, kind, text := r.call(t, "GET", "/api/v1/boundaries/eu/policy", header, ""); status != 200 || kind != "application/yaml" || text != got.Document {
		t.Errorf("as YAML: %d %s", status, kind)
	}
	back, err := r.client.Rollback(ctx, "eu", client.RollbackRequest{Serial: 1, Author: "bob"})
	if err != nil || back.Serial != 3 || back.Digest != p.Digest {
		t.Errorf("rollback: %+v, %v", back, err)
	}
	h, err := r.client.History(ctx, "eu", 2)
	if err != nil || len(h) != 2 || h[0].Serial != 3 || h[0].Message != "roll back to 1" || h[1].Message != "try b" {
		t.Errorf("history %+v, %v", h, err)
	}
	if _, err := r.client.Rollback(ctx, "eu", client.RollbackRequest{Serial: 99}); !isNotFound(err) {
		t.Errorf("rollback to nothing: %v", err)
	}
	records, err := r.client.Audit(ctx, "eu", 0)
	if err != nil || len(records) != 3 || records[0].Action != "rollback" || records[0].Author != "bob" {
		t.Errorf("audit %+v, %v", records, err)
	}
	if p, err := r.client.Policy(ctx, "us", 0); !isNotFound(err) {
		t.Errorf("eu's policy shows in us: %+v, %v", p, err)
	}
}

// What a policy says decides whether it is published; how it is written is kept.
func TestCommentsAreKeptAndAreNoChange(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx := t.Context()
	first := publish(t, r, "a")
	reworded := append([]byte("# Other words for the same.\nformat: 1\n"), document(t, "a")...)
	p, err := r.client.Publish(ctx, "eu", reworded, client.PublishOptions{})
	if err != nil || !p.Unchanged || p.Serial != 1 || p.Digest != first.Digest {
		t.Errorf("the same in other words: %+v, %v", p, err)
	}
	p, err = r.client.Publish(ctx, "eu", reworded, client.PublishOptions{Again: true})
	if err != nil || p.Unchanged || p.Serial != 2 || p.Digest != signing.Digest(reworded) {
		t.Errorf("published again: %+v, %v", p, err)
	}
	if got, err := r.client.Policy(ctx, "eu", 0); err != nil || got.Document != string(reworded) || !got.Genuine {
		t.Errorf("its comments are lost: %s, %v", got.Document, err)
	}
	if p, err := r.client.Rollback(ctx, "eu", client.RollbackRequest{Serial: 1}); err != nil || !p.Unchanged || p.Serial != 2 {
		t.Errorf("rollback to what says the same: %+v, %v", p, err)
	}
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*client.NotFoundError](err)
	return ok
}

func TestWhatIsNotAllowedIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	ctx := t.Context()
	publish(t, r, "a")
	publish(t, r, "b")
	t.Run("an invalid policy, with every fault", func(t *testing.T) {
		bad := bytes.ReplaceAll(document(t, "c"), []byte("ProvisionedManaged"), []byte("GlobalStandard"))
		bad = bytes.ReplaceAll(bad, []byte("fallback: [westeurope]"), []byte("fallback: [atlantis]"))
		_, err := r.client.Publish(ctx, "eu", bad, client.PublishOptions{})
		refused, ok := errors.AsType[*client.RefusedError](err)
		if !ok || len(refused.Faults) < 2 {
			t.Fatalf("error %v", err)
		}
		var paths []string
		for _, f := range refused.Faults {
			paths = append(paths, f.Path)
		}
		if !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(p, "backends[0].deployments[0]") }) {
			t.Errorf("paths %v", paths)
		}
		if v, err := r.client.Validate(ctx, "eu", bad); err != nil || v.Valid || len(v.Faults) != len(refused.Faults) {
			t.Errorf("validate: %+v, %v", v, err)
		}
		if p, err := r.client.Policy(ctx, "eu", 0); err != nil || p.Serial != 2 {
			t.Errorf("in force is %d, %v", p.Serial, err)
		}
	})
	t.Run("a policy of another boundary", func(t *testing.T) {
		_, err := r.client.Publish(ctx, "us", document(t, "c"), client.PublishOptions{})
		if e, ok := errors.AsType[*client.RefusedError](err); !ok || e.Faults[0].Path != "boundary" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a loopback backend, without the switch for it", func(t *testing.T) {
		loop := bytes.ReplaceAll(document(t, "c"), []byte("https://swc-ptu.openai.azure.com"), []byte("http://127.0.0.1:80"))
		if _, err := r.client.Publish(ctx, "eu", loop, client.PublishOptions{}); err == nil {
			t.Error("published")
		}
	})
	t.Run("a stale expectation, with who was first", func(t *testing.T) {
		_, err := r.client.Publish(ctx, "eu", document(t, "c"), client.PublishOptions{ExpectSerial: new(uint64(1))})
		if e, ok := errors.AsType[*client.ConflictError](err); !ok || e.Current.Serial != 2 || e.Current.Author != "ann" || e.Current.Time.IsZero() {
			t.Errorf("error %v", err)
		}
	})
	t.Run("an unknown boundary", func(t *testing.T) {
		if _, err := r.client.BoundaryStatus(ctx, "mars"); !isNotFound(err) || !strings.Contains(err.Error(), "eu, us") {
			t.Errorf("error %v", err)
		}
	})
	for what, c := range map[string]struct {
		method, path, body string
		status             int
	}{
		"a body over 8 MiB":        {"POST", "/api/v1/boundaries/eu/policy", strings.Repeat("#", policy.MaxRawBytes+2), 413},
		"an empty policy":          {"POST", "/api/v1/boundaries/eu/policy", "", 422},
		"a serial that is none":    {"GET", "/api/v1/boundaries/eu/policy?serial=x", "", 400},
		"a negative limit":         {"GET", "/api/v1/boundaries/eu/policy/history?limit=-1", "", 400},
		"an unknown field":         {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x","force":true}`, 400},
		"something after the JSON": {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x"} {}`, 400},
		"an order without a name":  {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend"}`, 400},
		"an order for a planet":    {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"planet","name":"x"}`, 400},
		"an order for ever":        {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x","for":"99999h"}`, 400},
		"an order for no time":     {"POST", "/api/v1/boundaries/eu/orders", `{"kind":"backend","name":"x","for":"-1h"}`, 400},
		"no order":                 {"DELETE", "/api/v1/boundaries/eu/orders/drain-backend-x", "", 404},
		"an order that climbs":     {"DELETE", "/api/v1/boundaries/eu/orders/..%2fpolicy%2fcurrent", "", 404},
		"a boundary that climbs":   {"GET", "/api/v1/boundaries/eu%2f..%2fus/policy", "", 404},
		"a path that is none":      {"GET", "/api/v1/boundaries/eu/policy/", "", 404},
		"a method that is none":    {"PUT", "/api/v1/boundaries/eu/policy", "", 405},
	} {
		t.Run(what, func(t *testing.T) {
			status, kind, text := r.call(t, c.method, c.path, r.bearer(), c.body)
			var reply client.ErrorReply
			if err := json.Unmarshal([]byte(text), &reply); err != nil || !strings.HasPrefix(kind, "application/json") {
				t.Fatalf("%d %s %q: %v", status, kind, text, err)
			}
			if status != c.status || reply.Error.Code == "" || reply.Error.Message == "" {
				t.Errorf("%d %s, want %d", status, text, c.status)
			}
		})
	}
}

// After the restore of an older etcd a publication is in force in every gateway
// that follows a newer serial, and says why its own is so high.
func TestAPublicationAfterTheRestoreOfAnOlderEtcdIsFollowed(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	publish(t, r, "a")
	st, err := store.Open(store.Config{Endpoints: r.Etcd["eu"]}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- st.AnnouncePresence(ctx, "eu", func() store.Presence {
			return store.Presence{Gateway: "gw-1", Region: "swedencentral", AppliedSerial: 7, AppliedDigest: "of-before"}
		}, nil)
	}()
	defer func() { cancel(); <-done }()
	for deadline := time.Now().Add(30 * time.Second); ; {
		if all, err := st.ListPresence(t.Context(), "eu"); err == nil && len(all) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no presence")
		}
	}
	p := publish(t, r, "a")
	if p.Serial != 8 || p.Unchanged || !strings.Contains(p.Note, "gw-1") || !strings.Contains(p.Note, "serials 2 to 7") {
		t.Errorf("publication %+v", p)
	}
	records, err := r.client.Audit(t.Context(), "eu", 1)
	if err != nil || len(records) != 1 || records[0].Note != p.Note {
		t.Errorf("audit %+v, %v", records, err)
	}
}
