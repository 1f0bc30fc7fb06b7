// Package commandtest runs a command as a process, in the tests of that command: its
// test binary is the command where the environment says so.
//
// It builds nothing, and knows no command. Only tests of commands import it.
package commandtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// asCommand in the environment makes the test binary the command itself.
const asCommand = "STAMPGATE_TEST_AS_COMMAND"

// Main is for TestMain: it runs the command's main in a process that New has made,
// and the tests in any other.
func Main(m *testing.M, main func()) {
	if os.Getenv(asCommand) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// New returns the command with these arguments. It is killed after a minute.
func New(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), asCommand+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// Ended is how a command ended, and what it wrote.
type Ended struct {
	Code        int
	Out, Errors string
}

// Run runs the command to its end, which comes at once or not at all.
func Run(t testing.TB, args ...string) Ended {
	t.Helper()
	cmd := New(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok && exit.ExitCode() < 0 {
		t.Fatalf("%v does not end:\n%s", args, errs.String())
	}
	return Ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// Running is a command that has said that it is ready.
type Running struct {
	*exec.Cmd

	Before string         // the lines of its log before that
	Ready  []byte         // the line that says so
	Log    *bufio.Scanner // the lines after it
	Out    bytes.Buffer   // its output, to be read once it has ended
}

// Start starts the command, and returns when its log says that it is ready. Every
// line up to then must be JSON.
func Start(t testing.TB, cmd *exec.Cmd) *Running {
	t.Helper()
	r := &Running{Cmd: cmd}
	cmd.Stdout = &r.Out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Log = bufio.NewScanner(stderr)
	for r.Log.Scan() {
		var line struct{ Message string }
		if err := json.Unmarshal(r.Log.Bytes(), &line); err != nil {
			t.Fatalf("the log has a line that is no JSON: %s", r.Log.Text())
		}
		if line.Message == "ready" {
			r.Ready = bytes.Clone(r.Log.Bytes())
			return r
		}
		r.Before += r.Log.Text() + "\n"
	}
	t.Fatalf("it ended before it was ready: %v", cmd.Wait())
	return nil
}

// End sends the signal, reads the rest of the log, whose lines must be JSON, and
// returns it and how the command ended.
func (r *Running) End(t testing.TB, signal os.Signal) (log string, err error) {
	t.Helper()
	if err := r.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	var rest bytes.Buffer
	for r.Log.Scan() {
		if !json.Valid(r.Log.Bytes()) {
			t.Errorf("the log has a line that is no JSON: %s", r.Log.Text())
		}
		rest.Write(r.Log.Bytes())
		rest.WriteByte('\n')
	}
	return rest.String(), r.Wait()
}
