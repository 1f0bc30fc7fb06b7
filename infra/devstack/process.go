package devstack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A command is a process to start.
type command struct {
	name string // as the log file and the reports call it
	path string
	args []string
	env  []string
	log  string // file for both output streams: the child writes to it itself, so a busy gateway costs this process nothing
}

// A child is a started process. Exactly one goroutine waits for it, until Done
// is closed.
type child struct {
	command
	pid   int
	start string // identity of the process beside its pid, see processStart
	done  chan struct{}
	exit  error // why it ended; read only after done is closed
}

// ended reports whether the process has ended.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// A DeathError says that a process of the stack ended unasked.
type DeathError struct {
	Name    string
	PID     int
	Status  string // "exit status 2", "signal: killed"
	LogFile string
	Tail    string // its last log lines
}

func (e *DeathError) Error() string {
	if e.Tail == "" {
		return fmt.Sprintf("%s (pid %d) ended: %s; it logged nothing to %s", e.Name, e.PID, e.Status, e.LogFile)
	}
	return fmt.Sprintf("%s (pid %d) ended: %s; its last lines, from %s:\n%s", e.Name, e.PID, e.Status, e.LogFile, indent(e.Tail))
}

func (c *child) death() error {
	status := "exit status 0"
	if c.exit != nil {
		status = c.exit.Error()
	}
	return &DeathError{Name: c.name, PID: c.pid, Status: status, LogFile: c.log, Tail: tail(c.log, tailLines)}
}

// A spawner starts processes from one operating-system thread that lives as
// long as the spawner: Linux sends a child the signal it asked for when the
// thread that started it ends, not the process.
type spawner struct {
	jobs chan func()
	wg   sync.WaitGroup // the thread, and one waiter per child
}

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan func())}
	s.wg.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for job := range s.jobs {
			job()
		}
	})
	return s
}

// close ends the thread and waits for every child: call it when all of them
// have been told to stop.
func (s *spawner) close() {
	close(s.jobs)
	s.wg.Wait()
}

// spawn starts a process with a fresh log file, in a process group of its own:
// a Ctrl-C at the terminal reaches this process alone, which then stops the
// others in order. When it has ended, exited is called once, by the goroutine
// that waited for it.
func (s *spawner) spawn(cmd command, exited func(*child)) (*child, error) {
	logFile, err := os.OpenFile(cmd.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", cmd.name, err)
	}
	defer func() { _ = logFile.Close() }()     // the child has its own
	run := exec.Command(cmd.path, cmd.args...) //nolint:gosec,noctx // the stack's own programs; their end is stop's to decide, not a context's
	run.Env = cmd.env
	run.Stdout, run.Stderr = logFile, logFile
	run.SysProcAttr = childAttributes()
	started := make(chan error)
	s.jobs <- func() { started <- run.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.name, err)
	}
	c := &child{command: cmd, pid: run.Process.Pid, done: make(chan struct{})}
	c.start, _ = processStart(c.pid) // a child that is gone already needs no identity
	s.wg.Go(func() {
		c.exit = run.Wait()
		close(c.done)
		exited(c)
	})
	return c, nil
}

// stop ends the children: SIGTERM to all, then SIGKILL to those that still run
// after the limit. It returns when all have ended, and names those that had to
// be killed.
func stop(children []*child, limit time.Duration) error {
	for _, c := range children {
		if !c.ended() {
			_ = syscall.Kill(c.pid, syscall.SIGTERM) // it may end at this very moment
		}
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	var killed []string
	for _, c := range children {
		if len(killed) == 0 { // the limit is one for all
			select {
			case <-c.done:
				continue
			case <-deadline.C:
			}
		}
		if c.ended() {
			continue
		}
		killed = append(killed, c.name)
		_ = syscall.Kill(c.pid, syscall.SIGKILL) // it may end at this very moment
		<-c.done
	}
	if len(killed) > 0 {
		return fmt.Errorf("killed after %v, for they did not stop by themselves: %s", limit, strings.Join(killed, ", "))
	}
	return nil
}

// awaitReady waits for the one JSON line with the message "ready" in the
// child's log and decodes it into v. A child that ends first is a *DeathError.
func (c *child) awaitReady(ctx context.Context, v any) error {
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if line := readyLine(c.log); line != nil {
			if err := json.Unmarshal(line, v); err != nil {
				return fmt.Errorf("read the ready line of %s: %w", c.name, err)
			}
			return nil
		}
		select {
		case <-c.done:
			return c.death()
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s (pid %d) was not ready after %v; its last lines, from %s:\n%s", c.name, c.pid, readyWait, c.log, indent(tail(c.log, tailLines)))
		case <-tick.C:
		}
	}
}

// readyLine returns the line that announces readiness, nil while there is none.
func readyLine(file string) []byte {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(data) {
		var entry struct {
			Message string `json:"message"`
		}
		if line[len(line)-1] == '\n' && bytes.Contains(line, []byte(`"ready"`)) && json.Unmarshal(line, &entry) == nil && entry.Message == "ready" {
			return line
		}
	}
	return nil
}

// tailLines and tailBytes bound what is shown of a dead process's log.
const (
	tailLines = 12
	tailBytes = 16 << 10
)

// tail returns the last lines of a file.
func tail(file string, lines int) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
