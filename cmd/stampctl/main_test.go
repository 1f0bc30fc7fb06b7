package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// Update rewrites the golden parts of the scripts: go test ./cmd/stampctl -update.
var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestMain(m *testing.M) {
	// A program under the race detector takes a second to end; commands need not.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	testscript.Main(cleaning{m}, map[string]func(){"stampctl": main})
}

// cleaning removes what the tests have built when all of them have ended.
type cleaning struct{ *testing.M }

func (c cleaning) Run() int {
	dir, err := os.MkdirTemp("", "stampgate-programs-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	programsDir = dir
	// What the shell around the tests says is about another control plane.
	for _, name := range []string{envServer, envToken, envTokenFile, envStack, envAuthor} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	return apitest.WithEtcd(c.M, func(e []string) { endpoints = e })
}

// endpoints of the etcd that the tests of commands share.
var endpoints []string

// A result is what a command left behind.
type result struct {
	code     int
	out, err string
}

// stampctl runs a command in this process, without input.
func stampctl(t *testing.T, args ...string) result {
	t.Helper()
	return stampctlWith(t, "", args...)
}

func stampctlWith(t *testing.T, input string, args ...string) result {
	t.Helper()
	var out, errs strings.Builder
	code := run(t.Context(), args, streams{in: strings.NewReader(input), out: &out, err: &errs})
	return result{code, out.String(), errs.String()}
}

// done reads what a command said in JSON, into a value whose fields are all
// that there may be; the command must have ended well.
func (r result) done(t *testing.T, v any) {
	t.Helper()
	r.says(t, command.Done, v)
}

func (r result) says(t *testing.T, code int, v any) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(r.out))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil || r.code != code || dec.More() {
		t.Fatalf("exit code %d, want %d with JSON: %v\n%s%s", r.code, code, err, r.out, r.err)
	}
}

// fails checks exit code and words of a command that wrote no result.
func (r result) fails(t *testing.T, code int, words ...string) {
	t.Helper()
	if r.code != code || r.out != "" {
		t.Errorf("exit code %d, want %d and no result:\n%s%s", r.code, code, r.out, r.err)
	}
	if !strings.HasPrefix(r.err, "stampctl: ") && !strings.HasPrefix(r.err, "warning: ") {
		t.Errorf("it does not say who speaks: %q", r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			t.Errorf("it says %q, want %q in it", r.err, w)
		}
	}
}

// A plane is a control plane with one boundary of its own.
type plane struct {
	*apitest.Server
	boundary  geo.Boundary
	tokenFile string
}

func newPlane(t *testing.T) plane {
	t.Helper()
	b := apitest.Boundary(t)
	return plane{apitest.New(t, apitest.Config{Etcd: endpoints, Boundaries: []geo.Boundary{b}}), b, file(t, "token", apitest.Token+"\n")}
}

// stampctl asks this control plane, in JSON.
func (p plane) stampctl(t *testing.T, args ...string) result {
	t.Helper()
	return p.text(t, append(args, "--output", "json")...)
}

func (p plane) text(t *testing.T, args ...string) result {
	t.Helper()
	return stampctl(t, append(args, "--server", p.URL, "--token-file", p.tokenFile)...)
}

// file writes a file for one test and returns its path.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestScripts runs every testdata/script/*.txtar. Each is one promise of the
// command line, named by its file.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

// exits runs a command and checks its exit code, as in: exits 3 stampctl policy
// validate bad.yaml.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGUMENTS")
	}
	err := ts.Exec(args[1], args[2:]...)
	if got := exitCode(err); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// exitCode returns the exit code of a command that was run, as text.
func exitCode(err error) string {
	if err == nil {
		return "0"
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return strconv.Itoa(exit.ExitCode())
	}
	return err.Error()
}

func mustCompile(t *testing.T, source []byte) (*policy.Document, *policy.Snapshot) {
	t.Helper()
	doc, err := policy.Decode(source)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := policy.Compile(doc, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return doc, snap
}
