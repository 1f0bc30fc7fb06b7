package storetest

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/store"
)

// says puts down what a gateway says of itself.
func (b *bench) says(t *testing.T, p store.Presence) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	b.put(t, "presence/"+string(p.Region)+"/"+p.Gateway, string(text))
}

// restoredContract: an etcd that was restored from an older backup holds serials
// that gateways are beyond; what is published then is what they follow.
func restoredContract(t *testing.T, b *bench) {
	t.Run("the next serial is above all that gateways follow", func(t *testing.T) {
		b := b.sub(t)
		one := b.publish(t, "one")
		b.says(t, store.Presence{Region: "r", Gateway: "follows", AppliedSerial: 1, AppliedDigest: one.Digest})
		if env := b.publish(t, "two"); env.Serial != 2 || env.Note != "" {
			t.Fatalf("with a gateway that follows: serial %d, note %q", env.Serial, env.Note)
		}
		b.says(t, store.Presence{Region: "r", Gateway: "ahead", AppliedSerial: 9})
		b.says(t, store.Presence{Region: "r", Gateway: "less-ahead", AppliedSerial: 5})
		b.says(t, store.Presence{Region: "r", Gateway: "serves-nothing", HighestSerial: 8})
		env := b.publish(t, "three")
		if env.Serial != 10 || !strings.Contains(env.Note, "ahead") || !strings.Contains(env.Note, "3 to 9") {
			t.Errorf("serial %d, note %q; want 10, and why", env.Serial, env.Note)
		}
		records, err := b.store.Audit(t.Context(), b.boundary, 1)
		if err != nil || len(records) != 1 || records[0].Note != env.Note || records[0].Subject != "policy 10" {
			t.Errorf("audit %+v, %v", records, err)
		}
		if _, err := json.Marshal(env); err != nil || strings.Contains(b.get(t, "policy/current"), "left out") {
			t.Error("the note is stored with the policy")
		}
	})
	t.Run("the document that is in force here and nowhere else is published", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		b.says(t, store.Presence{Region: "r", Gateway: "ahead", AppliedSerial: 2})
		if env := b.publish(t, "one"); env.Serial != 3 {
			t.Errorf("serial %d, want 3", env.Serial)
		}
	})
	t.Run("the same serial with another content counts as ahead", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		b.says(t, store.Presence{Region: "r", Gateway: "other", AppliedSerial: 1, AppliedDigest: "another"})
		if env := b.publish(t, "one"); env.Serial != 2 {
			t.Errorf("serial %d, want 2", env.Serial)
		}
	})
	t.Run("a presence that cannot be true does not use the serials up", func(t *testing.T) {
		b := b.sub(t)
		b.publish(t, "one")
		b.says(t, store.Presence{Region: "r", Gateway: "liar", AppliedSerial: math.MaxUint64 - 1})
		_, err := b.store.Publish(t.Context(), b.boundary, store.PublishRequest{Document: []byte("two"), Trust: b.trust}, b.key)
		if _, invalid := errors.AsType[*store.InvalidError](err); !invalid || !strings.Contains(err.Error(), "liar") {
			t.Errorf("error %v, want one that names the gateway", err)
		}
	})
}
