package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/loadtest/azuresim"
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

// What the help shows is what the control API takes, in JSON and in YAML.
func TestTheFaultThatTheHelpShowsIsTakenInEveryForm(t *testing.T) {
	var help strings.Builder
	if err := run(t.Context(), []string{"simulate", "--help"}, &help, io.Discard); err != nil {
		t.Fatal(err)
	}
	var forms []string
	for line := range strings.Lines(help.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, `{"kind"`) || strings.HasPrefix(line, "throttle;") {
			forms = append(forms, line)
		}
	}
	if len(forms) != 2 {
		t.Fatalf("the help shows %q", forms)
	}
	var fromJSON, fromYAML azuresim.Fault
	if err := json.Unmarshal([]byte(forms[0]), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(forms[0]), &fromYAML); err != nil {
		t.Fatal(err)
	}
	short, err := azuresim.ParseFault(forms[1])
	if err != nil || fromJSON != fromYAML || fromJSON != short {
		t.Errorf("JSON %+v, YAML %+v, short %+v, %v", fromJSON, fromYAML, short, err)
	}
	for _, kind := range azuresim.FaultKinds() {
		if !strings.Contains(help.String(), string(kind)) {
			t.Errorf("the help lacks the kind %s", kind)
		}
	}
}

func TestACommandLineThatCannotBeUsedIsAFaultOfItsOwn(t *testing.T) {
	for _, args := range [][]string{{"bogus"}, {"--bogus"}, {"simulate", "--bogus"}, {"simulate", "x"}, {"simulate"}, {"scorecard", "--output", "x"}} {
		err := run(t.Context(), args, io.Discard, io.Discard)
		if _, ok := errors.AsType[*command.UsageError](err); !ok {
			t.Errorf("%q: %v, want a fault of the command line", args, err)
		}
	}
	if err := run(t.Context(), nil, io.Discard, io.Discard); err != nil {
		t.Errorf("without a command: %v, want the help", err)
	}
}
