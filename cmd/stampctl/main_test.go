package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stampgate/stampgate/controlplane/policy"
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
	return c.M.Run()
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
