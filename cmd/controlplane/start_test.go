package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/cmd/internal/command/commandtest"
)

func configOf(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "controlplane.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "D/", dir+"/")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A fault of the configuration is told by check and by the start with the same
// words, each with its path.
func TestCheckFailsWhereTheStartWouldAndSaysTheSame(t *testing.T) {
	const rest = "tokenFile: D/token\nsigningKeyFile: D/key\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"nothing at all":      {"", []string{"is empty", "tokenFile", "signingKeyFile", "boundaries"}},
		"plain HTTP":          {rest + "listen: 0.0.0.0:9400\nembedded: {dir: D/e}\nboundaries: {eu: {}}\n", []string{"tls: 0.0.0.0:9400 is not loopback", "certFile and keyFile"}},
		"no place for etcd":   {rest + "boundaries: {eu: {}, us: {}}\n", []string{"boundaries.eu", "boundaries.us", "embedded.dir"}},
		"an etcd by no URL":   {rest + "boundaries: {eu: {etcd: {endpoints: [\"h:1\"]}}}\n", []string{"boundaries.eu", "etcd.endpoints[0]"}},
		"a name that is none": {rest + "embedded: {dir: D/e}\nboundaries: {\"e u\": {}}\n", []string{`"e u"`, "small letters"}},
		"a word that is none": {rest + "borders: {}\n", []string{"borders"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := configOf(t, c.text)
			var said [2]string
			for i, args := range [][]string{{"check", "--config", path}, {"--config", path}} {
				got := commandtest.Run(t, args...)
				fault, hint, _ := strings.Cut(got.Errors, "\nsee ")
				if got.Code != command.Usage || got.Out != "" || hint == "" {
					t.Errorf("%v: %+v", args, got)
				}
				said[i] = strings.TrimPrefix(fault, "controlplane: ")
			}
			if said[0] != said[1] || !strings.HasPrefix(said[0], path+": ") {
				t.Errorf("check says %q, the start %q", said[0], said[1])
			}
			for _, want := range c.want {
				if !strings.Contains(said[0], want) {
					t.Errorf("%q lacks %q", said[0], want)
				}
			}
		})
	}
}

func TestCheckLeavesNothingBehind(t *testing.T) {
	path := config(t)
	got := commandtest.Run(t, "check", "--config", path)
	if got.Code != command.Done || got.Errors != "" || got.Out != path+" is valid: 1 boundaries, listening on 127.0.0.1:0\n" {
		t.Errorf("%+v", got)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
}

func TestAnAddressInUseEndsItWithItsName(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := configOf(t, "listen: "+taken.Addr().String()+"\ntokenFile: D/token\nsigningKeyFile: D/key\nembedded: {dir: D/etcd}\nboundaries: {eu: {}}\n")
	got := commandtest.Run(t, "--config", path)
	if got.Code != command.Failed || got.Out != "" || !strings.Contains(got.Errors, "address already in use") || !strings.Contains(got.Errors, taken.Addr().String()) {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "etcd")); err == nil {
		t.Error("an etcd was started for nothing")
	}
}

// The ready line is what scripts and the development stack wait for. Ctrl-C ends
// it as SIGTERM does, and neither token nor key was ever said.
func TestTheReadyLineAndItsEndByCtrlC(t *testing.T) {
	path := config(t)
	r := commandtest.Start(t, commandtest.New(t, "--config", path, "--allow-loopback-backends"))
	var ready struct {
		URL       string
		PublicKey string `json:"public_key"`
		Version   string
		Etcd      map[string][]string
	}
	if err := json.Unmarshal(r.Ready, &ready); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(ready.URL, "http://127.0.0.1:") || !strings.HasPrefix(ready.PublicKey, "ed25519:") || ready.Version == "" || len(ready.Etcd["eu"]) != 1 {
		t.Errorf("ready line %s", r.Ready)
	}
	rest, err := r.End(t, os.Interrupt)
	if err != nil {
		t.Errorf("ended with %v:\n%s", err, rest)
	}
	log := r.Before + string(r.Ready) + rest
	for _, name := range []string{"token", "key"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		for secret := range strings.FieldsSeq(string(text)) {
			if len(secret) > 20 && strings.Contains(log, secret) {
				t.Errorf("what the %s file holds is in the log", name)
			}
		}
	}
}
