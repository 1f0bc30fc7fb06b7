package e2e_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/infra/e2e"
)

// P2: what the golden folder holds is refused by the control plane with every
// fault's path, and the policy in force stays.
func TestP2GoldenBadPolicies(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	files, err := filepath.Glob("../../controlplane/policy/testdata/invalid/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d golden policies, %v; want at least 40", len(files), err)
	}
	for _, file := range files {
		// What goes beyond a process's own residency, and loopback, depend on the
		// options of the one who compiles: this control plane has neither limit.
		if name := filepath.Base(file); strings.HasPrefix(name, "local-") || name == "endpoint-loopback.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Control.Publish(t.Context(), "eu", text, client.PublishOptions{Author: "e2e"})
		refused, ok := errors.AsType[*client.RefusedError](err)
		if !ok || len(refused.Faults) == 0 {
			t.Errorf("%s: %v, want a refusal with faults", filepath.Base(file), err)
			continue
		}
		for _, f := range refused.Faults {
			if f.Text == "" {
				t.Errorf("%s: a fault at %q has no text", filepath.Base(file), f.Path)
			}
		}
	}
	resp := post(t, s.Gateways[0], s.Key, chatPath, chatBody(false))
	if got := resp.Header.Get("x-stampgate-policy"); resp.StatusCode != http.StatusOK || got != "1" {
		t.Errorf("status %d under policy %s, want 200 under 1", resp.StatusCode, got)
	}
}

// P2: an envelope that somebody changed in etcd is refused, shows in status and
// presence, and the last good one stays; the next genuine one heals it.
func TestP2TamperedEnvelope(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	g := s.Gateways[0]
	etcd, err := clientv3.New(clientv3.Config{Endpoints: s.Etcd(), DialTimeout: e2e.Limit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	const key = "/stampgate/eu/policy/current"
	got, err := etcd.Get(t.Context(), key)
	if err != nil || len(got.Kvs) != 1 {
		t.Fatalf("read the envelope: %v", err)
	}
	var envelope map[string]any
	if err := json.Unmarshal(got.Kvs[0].Value, &envelope); err != nil {
		t.Fatal(err)
	}
	envelope["serial"] = 7
	tampered, err := json.Marshal(envelope)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := etcd.Put(t.Context(), key, string(tampered)); err != nil {
		t.Fatal(err)
	}
	s.Await("the refusal shows in status", func() bool {
		p := s.Status(g).Policy
		return p.Serial == 1 && p.RefusedSerial == 7 && strings.Contains(p.RefusedReason, "signature")
	})
	s.Await("the refusal shows in presence", func() bool {
		b, err := s.Control.BoundaryStatus(t.Context(), "eu")
		return err == nil && len(b.Gateways) == 1 && b.Gateways[0].RefusedSerial == 7 && b.Gateways[0].AppliedSerial == 1
	})
	if resp := post(t, g, s.Key, chatPath, chatBody(false)); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d while a tampered policy lies in etcd", resp.StatusCode)
	}
	if _, err := etcd.Put(t.Context(), key, string(got.Kvs[0].Value)); err != nil {
		t.Fatal(err)
	}
	s.Await("the refusal is over", func() bool { return s.Status(g).Policy.RefusedReason == "" })
}

// BenchmarkPolicyInForce measures from the start of publishing to the moment
// when three gateways have the policy in force.
func BenchmarkPolicyInForce(b *testing.B) {
	s := e2e.Start(b, e2e.Options{Gateways: 3})
	texts := []string{s.Policy, strings.Replace(s.Policy, "tokensPerMinute: 450000", "tokensPerMinute: 450001", 1)}
	worst, i := time.Duration(0), 0
	for b.Loop() {
		i++
		start := time.Now()
		s.AwaitPolicy(s.Publish(texts[i%2]))
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Milliseconds()), "worst-ms")
}
