package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// readyLine is what other programs wait for and read.
type readyLine struct {
	Message   string
	Control   string
	Identity  string
	Instances map[string]string
}

// simulateUntilReady runs the command as main does and returns its ready line.
func simulateUntilReady(t *testing.T, args ...string) readyLine {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, append([]string{"simulate"}, args...), io.Discard, w)
		_ = w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		go func() { _, _ = io.Copy(io.Discard, r) }()
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var l readyLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatalf("line %q: %v", lines.Text(), err)
		}
		if l.Message == "ready" {
			return l
		}
	}
	t.Fatalf("ended without a ready line: %v", <-done)
	return readyLine{}
}

func TestSimulateServesWhatItsReadyLineNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sim.yaml")
	text := "instances: [{name: from-file, listen: 127.0.0.6:0, deployments: [{name: a, model: gpt-4o}]}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l := simulateUntilReady(t, "--config", file, "--api-key", "k",
		"--instance", "name=swc,region=Sweden Central,listen=127.0.0.5:0,key=own,deployment=gpt-4o:gpt-4o:2024-11-20:ProvisionedManaged:ptu=100,deployment=b:gpt-4o")
	if len(l.Instances) != 2 || l.Control == "" || l.Identity != l.Control+"/identity" {
		t.Fatalf("ready line %+v", l)
	}
	hc := &http.Client{Timeout: 10 * time.Second}
	for name, key := range map[string]string{"from-file": "k", "swc": "own"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", l.Instances[name]+"/openai/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Api-Key", key)
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}

func TestSimulateRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "no instances"},
		{[]string{"--config", "/nonexistent"}, "read configuration"},
		{[]string{"--instance", "name"}, "want name=value"},
		{[]string{"--instance", "bogus=x"}, `no setting "bogus"`},
		{[]string{"--instance", "name=x,listen=127.0.0.1:0,tls=maybe"}, "want true or false"},
		{[]string{"--instance", "name=x,listen=127.0.0.1:0,deployment=a:b:c:Standard:tpm"}, "want tpm=N"},
		{[]string{"--instance", "name=x"}, "want host:port"},
		{[]string{"surplus"}, "unknown command"},
	} {
		err := run(t.Context(), append([]string{"simulate"}, c.args...), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.args, err, c.says)
		}
	}
}
