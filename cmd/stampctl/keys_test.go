package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/gateway/auth"
)

type madeKey struct{ Client, Boundary, Key, SHA256, Policy string }

func makeKey(t *testing.T, args ...string) (k madeKey) {
	t.Helper()
	stampctl(t, append([]string{"key", "create", "-o", "json"}, args...)...).done(t, &k)
	return k
}

func TestAKeyIsOfItsBoundaryAndItsHashIsForThePolicy(t *testing.T) {
	k := makeKey(t, "payroll", "-b", "eu-north")
	if b, ok := auth.ParseKey(k.Key); !ok || b != "eu-north" || k.Boundary != "eu-north" || k.Client != "payroll" {
		t.Errorf("%+v is of boundary %q", k, b)
	}
	if sum := sha256.Sum256([]byte(k.Key)); k.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the hash %s is not that of the key", k.SHA256)
	}
	if strings.Contains(k.Policy, k.Key) {
		t.Errorf("the line for the policy holds the key itself: %s", k.Policy)
	}
	if again := makeKey(t, "payroll", "-b", "eu-north"); again.Key == k.Key {
		t.Error("two keys are the same")
	}
}

// The line that is printed is taken by a policy as it stands, with the end that
// was asked for.
func TestTheLineOfAKeyFitsIntoAPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		flags []string
		life  time.Duration // 0: for ever
	}{
		"as it comes":  {nil, 365 * 24 * time.Hour},
		"for two days": {[]string{"--valid-for", "48h"}, 48 * time.Hour},
		"for ever":     {[]string{"--valid-for", "0"}, 0},
	} {
		k := makeKey(t, append([]string{"payroll", "-b", "eu"}, c.flags...)...)
		source := strings.Replace(string(apitest.Policy("eu", "payroll")),
			"{sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}", k.Policy, 1)
		doc, err := policy.Decode([]byte(source))
		if err != nil {
			t.Fatalf("%s: %s: %v", name, k.Policy, err)
		}
		if faults, _ := policy.Validate(doc, policy.Options{Now: time.Now()}); len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
		}
		made := doc.Clients[0].Keys[0]
		if c.life == 0 {
			if !made.NotAfter.IsZero() {
				t.Errorf("%s: ends at %v", name, made.NotAfter)
			}
			continue
		}
		if left := time.Until(made.NotAfter); left > c.life || left < c.life-time.Minute {
			t.Errorf("%s: ends in %v", name, left)
		}
	}
}

func TestAKeyAsTextIsShownOnceWithItsLine(t *testing.T) {
	r := stampctl(t, "key", "create", "payroll.v2", "-b", "eu", "--valid-for", "0")
	lines := strings.Split(r.out, "\n")
	if r.code != command.Done || r.err != "" || len(lines) != 10 {
		t.Fatalf("%+v", r)
	}
	key := strings.TrimSpace(lines[2])
	if _, ok := auth.ParseKey(key); !ok || strings.Count(r.out, key) != 1 {
		t.Errorf("the key %q in\n%s", key, r.out)
	}
	if lines[0] != "key of payroll.v2 in boundary eu, shown this once:" || lines[6] != "  - name: payroll.v2" || lines[7] == "" {
		t.Errorf("%s", r.out)
	}
}

// Names go into a line of YAML that people paste: what could change its meaning
// is refused.
func TestNamesThatCouldChangeTheLineAreRefused(t *testing.T) {
	for _, name := range []string{"", "a b", "a:b", "a\nb", "-a", "a-", ".a", "Ä", "a{", "#a", "'a'", strings.Repeat("a", 64), "A"} {
		stampctl(t, "key", "create", "-b", "eu", "--", name).fails(t, command.Usage, "want small letters")
	}
	for _, boundary := range []string{"EU", "e u", "-eu", "eu-", "../us", "eu_north", strings.Repeat("e", 64)} {
		r := stampctl(t, "key", "create", "payroll", "--boundary="+boundary)
		r.fails(t, command.Failed, "boundary", "small letters")
	}
	makeKey(t, strings.Repeat("a", 63), "-b", "e")
	makeKey(t, "a", "-b", strings.Repeat("e", 63))
}

type shownKey struct{ File, PublicKey string }

func TestASigningKeyIsMadeOnceAndShownAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signing.key")
	var made, shown shownKey
	stampctl(t, "signing-key", "create", path, "-o", "json").done(t, &made)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || made.File != path || !strings.HasPrefix(made.PublicKey, "ed25519:") {
		t.Errorf("%+v, %v, %v", made, info, err)
	}
	stampctl(t, "signing-key", "show", path, "-o", "json").done(t, &shown)
	if shown != made {
		t.Errorf("made %+v, shown %+v", made, shown)
	}
	if r := stampctl(t, "signing-key", "show", path); r.out != made.PublicKey+"\n" || r.err != "" {
		t.Errorf("as text: %+v", r)
	}
	if key, err := signing.LoadKey(path); err != nil || key.Public().String() != made.PublicKey {
		t.Errorf("the control plane reads another key: %v", err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stampctl(t, "signing-key", "create", path).fails(t, command.Failed, path+" is there already", "give a new file name")
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the key that was there was changed: %v", err)
	}
}

func TestASigningKeyFileThatCannotServeSaysWhy(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	open := filepath.Join(dir, "open")
	if err := errors.Join(os.Symlink("nowhere", link), os.WriteFile(open, []byte("x"), 0o600), os.Chmod(open, 0o644)); err != nil {
		t.Fatal(err)
	}
	stampctl(t, "signing-key", "create", link).fails(t, command.Failed, "is there already") // also one that leads nowhere
	stampctl(t, "signing-key", "create", filepath.Join(dir, "no", "folder")).fails(t, command.Failed, "create signing key", "no/folder")
	stampctl(t, "signing-key", "create", filepath.Join(open, "below")).fails(t, command.Failed, "look for")
	stampctl(t, "signing-key", "show", open).fails(t, command.Failed, "others may read it", "chmod 600")
	stampctl(t, "signing-key", "show", dir).fails(t, command.Failed, "not a regular file")
	stampctl(t, "signing-key", "show", file(t, "rubbish", "no key")).fails(t, command.Failed, "rubbish")
	stampctl(t, "signing-key", "show", filepath.Join(dir, "none")).fails(t, command.Failed, "no such file")
}
