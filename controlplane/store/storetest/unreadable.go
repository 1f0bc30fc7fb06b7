package storetest

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/store"
)

// What someone wrote into etcd past the store costs the entry that it stands in,
// and never the list.
func unreadableContract(t *testing.T, b *bench) {
	b.publish(t, "one")
	b.publish(t, "two")
	if err := b.store.PutDigest(t.Context(), b.boundary, "swedencentral", json.RawMessage(`{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.store.PutOrder(t.Context(), b.order("swc-ptu", patience)); err != nil {
		t.Fatal(err)
	}
	stray := b.order("stray", patience)
	stray.Boundary = "us"
	moved, err := json.Marshal(stray)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"policy/history/1":              "{rubbish",
		"policy/history/x":              "no serial",
		"policy/history/" + "7":         `{"serial":7}`,
		"audit/9999999999999999999-x":   "{rubbish",
		"presence/westeurope/gw-1":      "{rubbish",
		"presence/westeurope/gw-2":      `{"gateway":"another","region":"swedencentral","appliedSerial":2}`,
		"digest/westeurope":             "{rubbish",
		"orders/drain-backend-rubbish":  "[]",
		"orders/drain-backend-stray":    string(moved), // an order of another boundary
		"orders/drain-backend-renamed2": b.get(t, "orders/drain-backend-swc-ptu"),
	} {
		b.put(t, key, value)
	}
	if h, err := b.store.History(t.Context(), b.boundary, 0); err != nil || len(h) != 1 || h[0].Serial != 2 {
		t.Errorf("history: %+v, %v", h, err)
	}
	_, err = b.store.At(t.Context(), b.boundary, 1)
	if m, ok := errors.AsType[*store.MalformedError](err); !ok || m.Key != b.at("policy/history/1") {
		t.Errorf("the entry itself: %v", err)
	}
	if a, err := b.store.Audit(t.Context(), b.boundary, 10); err != nil || len(a) != 4 || a[0].Action != "unreadable" || a[1].Action != "order" {
		t.Errorf("audit: %+v, %v", a, err)
	}
	p, err := b.store.ListPresence(t.Context(), b.boundary)
	if err != nil || len(p) != 2 || p[0].Health != "unreadable" || p[0].Gateway != "gw-1" || p[0].Region != "westeurope" {
		t.Errorf("presence: %+v, %v", p, err)
	}
	// The key is what the lease holds: what is said inside counts for nothing.
	if len(p) == 2 && (p[1].Gateway != "gw-2" || p[1].Region != "westeurope" || p[1].AppliedSerial != 2) {
		t.Errorf("presence under another's name: %+v", p[1])
	}
	if d, err := b.store.Digests(t.Context(), b.boundary); err != nil || len(d) != 1 || string(d["swedencentral"]) != `{"n":1}` {
		t.Errorf("digests: %v, %v", d, err)
	}
	if o, err := b.store.Orders(t.Context(), b.boundary); err != nil || len(o) != 1 || o[0].Name != "swc-ptu" {
		t.Errorf("orders: %+v, %v", o, err)
	}
	if env := b.publish(t, "three"); env.Serial != 3 {
		t.Errorf("the next serial is %d: an entry that is none set it", env.Serial)
	}
}

// A policy in force that a newer program published hides nothing of what this one
// can read.
func newerContract(t *testing.T, b *bench) {
	b.publish(t, "one")
	b.publish(t, "two")
	for _, key := range []string{"policy/current", "policy/history/2"} {
		b.put(t, key, strings.Replace(b.get(t, key), `"format":1`, `"format":2`, 1))
	}
	if h, err := b.store.History(t.Context(), b.boundary, 0); err != nil || len(h) != 1 || h[0].Serial != 1 {
		t.Errorf("history: %+v, %v", h, err)
	}
}
