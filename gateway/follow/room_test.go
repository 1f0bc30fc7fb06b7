package follow

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/needs"
)

const small = `
boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral}]
backends:
  - name: a
    region: swedencentral
    endpoint: https://a.openai.azure.com
    credential: {apiKeyEnv: A_KEY}
    deployments: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20", sku: Standard}]
routes: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20"}]
`

// A lab makes followers of one folder and one key.
type lab struct {
	t   *testing.T
	key signing.PrivateKey
	dir string
}

func newLab(t *testing.T, dir string) *lab {
	t.Helper()
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return &lab{t, key, dir}
}

func (l *lab) envelope(serial uint64) store.Envelope {
	l.t.Helper()
	e, err := store.NewEnvelope("eu", serial, []byte(small))
	if err != nil {
		l.t.Fatal(err)
	}
	e.Sign(l.key)
	return e
}

func (l *lab) start(acceptOlder uint64) (*Follower, error) {
	l.t.Helper()
	v, err := signing.NewVerifier([]signing.PublicKey{l.key.Public()})
	if err != nil {
		l.t.Fatal(err)
	}
	f := New(Config{
		Local:    geo.Residency{Boundary: "eu", Countries: []geo.Country{"SE"}},
		Verifier: v, CacheDir: l.dir, AcceptOlder: acceptOlder, Log: zerolog.Nop(),
	})
	return f, f.Load()
}

// coldStarts is what must hold after a policy that the disk did not take: nothing
// older is served without an operator's word, which names the serial.
func (l *lab) coldStarts(kept, followed uint64) {
	l.t.Helper()
	f, err := l.start(0)
	if err == nil || f.Snapshot() != nil || !strings.Contains(err.Error(), "policy.acceptOlder") {
		l.t.Errorf("a cold start serves policy %d although %d was followed: %v", kept, followed, err)
	}
	if s := f.State(); s.SeenSerial != followed {
		l.t.Errorf("after the start serial %d is known, want %d", s.SeenSerial, followed)
	}
	f.Policy(l.envelope(kept)) // as a restored etcd would say
	if f.Snapshot() != nil {
		l.t.Error("what is older is served once etcd says it")
	}
	f, err = l.start(kept - 1)
	if err == nil || f.Snapshot() != nil {
		l.t.Errorf("an operator's word for another serial is taken: %v", err)
	}
	f, err = l.start(kept)
	if err != nil || f.Snapshot() == nil || f.Snapshot().Serial() != kept {
		l.t.Errorf("with an operator's word: %v", err)
	}
	f.Policy(l.envelope(followed))
	if f.State().AppliedSerial != followed {
		l.t.Error("what was followed last is not followed any more")
	}
}

// A policy that the disk did not take is in force and shown; a start without etcd
// then refuses the older one. When the disk takes it, all is well again.
func TestP2WhatTheDiskDidNotTakeIsNotForgotten(t *testing.T) {
	for name, fault := range map[string]error{
		"full": syscall.ENOSPC, "over quota": syscall.EDQUOT, "broken": syscall.EIO, "read-only": syscall.EROFS,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, t.TempDir())
			f, err := l.start(0)
			if err != nil {
				t.Fatal(err)
			}
			f.Policy(l.envelope(5))
			if s := f.State(); s.Unkept != "" {
				t.Fatalf("with a good disk: %s", s.Unkept)
			}
			good := f.disk.replace
			f.disk.replace = func(string, []byte) error { return fault }
			f.Policy(l.envelope(7))
			s := f.State()
			if s.AppliedSerial != 7 || !strings.Contains(s.Unkept, "policy 7") {
				t.Fatalf("serial %d in force, unkept %q", s.AppliedSerial, s.Unkept)
			}
			// The process dies here; another one starts. (What it writes is undone, so
			// that the first one's disk is as it was.)
			before := l.files()
			l.coldStarts(5, 7)
			l.restore(before)

			f.disk.replace = good
			f.advancing.Lock()
			f.keep()
			f.advancing.Unlock()
			if s := f.State(); s.Unkept != "" {
				t.Errorf("with a good disk again: %s", s.Unkept)
			}
			again, err := l.start(0)
			if err != nil || again.State().AppliedSerial != 7 {
				t.Errorf("a cold start after that: serial %d, %v", again.State().AppliedSerial, err)
			}
		})
	}
}

func (l *lab) files() map[string][]byte {
	l.t.Helper()
	out := map[string][]byte{}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(l.dir, e.Name()))
		if err != nil {
			l.t.Fatal(err)
		}
		out[e.Name()] = text
	}
	return out
}

func (l *lab) restore(files map[string][]byte) {
	l.t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(l.dir, name), text, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
}

// The note of the highest serial survives a torn write, and a damaged one is said.
func TestTheHighestSerialSurvivesATornWrite(t *testing.T) {
	l := newLab(t, t.TempDir())
	f, err := l.start(0)
	if err != nil {
		t.Fatal(err)
	}
	f.Policy(l.envelope(5))
	f.Policy(l.envelope(6))
	path := filepath.Join(l.dir, seenFile)
	whole, err := os.ReadFile(path)
	if err != nil || len(whole) != 2*seenSlot {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	for cut := range seenSlot { // of the record of 6, which lies first
		torn := append([]byte(nil), whole...)
		copy(torn, make([]byte, cut))
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if seen, err := f.readSeen(); err != nil || seen < 5 {
			t.Errorf("torn after %d bytes: %d, %v", cut, seen, err)
		}
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.readSeen(); err == nil {
		t.Error("rubbish passes")
	}
}

// Without its note a gateway does not know whether the cached policy is the last
// that it followed: nobody is served by it unless an operator names it, and nothing
// is noted until there is a policy that may be followed.
func TestADamagedNoteServesNoCachedPolicy(t *testing.T) {
	l := newLab(t, t.TempDir())
	f, err := l.start(0)
	if err != nil {
		t.Fatal(err)
	}
	f.Policy(l.envelope(6))
	path := filepath.Join(l.dir, seenFile)
	if err := os.WriteFile(path, make([]byte, 2*seenSlot), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := l.files()
	for _, word := range []uint64{0, 5, 7} {
		f, err := l.start(word)
		if err == nil || f.Snapshot() != nil || !strings.Contains(err.Error(), "policy.acceptOlder: 6") || !strings.Contains(err.Error(), path) {
			t.Errorf("with an operator's word for %d: serial %d is served, %v", word, f.State().AppliedSerial, err)
		}
		if s := f.State(); s.RefusedSerial != 6 || !strings.Contains(s.RefusedReason, "policy.acceptOlder: 6") || s.SeenSerial != 6 {
			t.Errorf("with an operator's word for %d the state is %+v", word, s)
		}
		f.Policy(l.envelope(4)) // as a restored etcd would say
		if f.Snapshot() != nil {
			t.Error("what is older than the cached policy is served once etcd says it")
		}
	}
	f, err = l.start(6)
	if err != nil || f.State().AppliedSerial != 6 {
		t.Errorf("with an operator's word: serial %d, %v", f.State().AppliedSerial, err)
	}
	if !bytes.Equal(l.files()[seenFile], damaged[seenFile]) {
		t.Error("the note was written anew from a policy that may be older")
	}
	if f, err = l.start(0); err == nil || f.Snapshot() != nil {
		t.Errorf("the operator's word stood for more than one start: %v", err)
	}
	f.Policy(l.envelope(6)) // etcd says it
	if again, err := l.start(0); err != nil || f.State().AppliedSerial != 6 || again.State().AppliedSerial != 6 {
		t.Errorf("after etcd: serial %d, %v", again.State().AppliedSerial, err)
	}
}

// One that does not know the signer takes no serial from what lies there.
func TestADamagedNoteLearnsNothingFromAForgedPolicy(t *testing.T) {
	l := newLab(t, t.TempDir())
	f, err := l.start(0)
	if err != nil {
		t.Fatal(err)
	}
	forged := newLab(t, l.dir).envelope(9)
	if err := f.write(policyFile, forged); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, seenFile), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err = l.start(9)
	if err == nil || f.State().SeenSerial != 0 {
		t.Errorf("serial %d is known, %v", f.State().SeenSerial, err)
	}
	if f.Policy(l.envelope(3)); f.State().AppliedSerial != 3 {
		t.Errorf("a genuine policy is refused: %+v", f.State())
	}
}

// On a file system that is really full the next policy finds its room, and the one
// after it, if the room is taken meanwhile, is not forgotten.
func TestP2ARealFullDisk(t *testing.T) {
	dir := needs.SmallDisk(t, 6<<20)
	l := newLab(t, filepath.Join(dir, "cache"))
	f, err := l.start(0)
	if err != nil {
		t.Fatal(err)
	}
	f.Policy(l.envelope(5))
	if s := f.State(); s.Unkept != "" {
		t.Fatal(s.Unkept)
	}
	needs.Fill(t, filepath.Join(dir, "other"))
	for serial := uint64(6); serial <= 9; serial++ { // the room is taken back each time
		f.Policy(l.envelope(serial))
		cold, err := l.start(0)
		if err != nil || cold.State().AppliedSerial != serial || f.State().Unkept != "" {
			t.Errorf("the room that was kept was not used: serial %d, %v, unkept %q", cold.State().AppliedSerial, err, f.State().Unkept)
		}
	}
	if err := os.Remove(filepath.Join(l.dir, reserveFile)); err != nil {
		t.Fatal(err)
	}
	needs.Fill(t, filepath.Join(dir, "more"))
	f.Policy(l.envelope(10))
	if s := f.State(); s.AppliedSerial != 10 || !strings.Contains(s.Unkept, "policy 10") {
		t.Errorf("serial %d, unkept %q", s.AppliedSerial, s.Unkept)
	}
	l.coldStarts(9, 10)
}
