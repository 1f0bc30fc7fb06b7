package devstack

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A RunningError says that the folder's stack is up already.
type RunningError struct {
	Dir string
	PID int // 0 if the other process has not written it yet
}

func (e *RunningError) Error() string {
	stop := "stop it with Ctrl-C where it runs"
	if e.PID != 0 {
		stop = fmt.Sprintf("stop it with Ctrl-C where it runs or with 'kill %d'", e.PID)
	}
	return fmt.Sprintf("a stack is running in %s: %s, or start another one with --dir", e.Dir, stop)
}

// A folder is the stack's folder, locked for this process.
type folder struct {
	dir  string
	lock *os.File
}

// openFolder makes and locks the folder, kills what an earlier stack that died
// without stopping has left running, and removes the earlier state unless it is
// to be kept. It refuses a folder with files in it that no stack has made.
func openFolder(dir string, keepState bool) (*folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the stack's folder: %w", err)
	}
	if err := checkOurs(dir); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if errors.Is(err, errLocked) {
		return nil, &RunningError{Dir: dir, PID: lockHolder(dir)}
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	f := &folder{dir: dir, lock: lock}
	if err := f.prepare(keepState); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

func (f *folder) prepare(keepState bool) error {
	if err := f.lock.Truncate(0); err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	if _, err := f.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		return fmt.Errorf("write the lock: %w", err)
	}
	// A folder that was made by hand may be open to others; keys go into it.
	if err := os.Chmod(f.dir, 0o700); err != nil { //nolint:gosec // a folder needs the search bit
		return fmt.Errorf("close %s to others: %w", f.dir, err)
	}
	if err := f.killLeftovers(); err != nil {
		return err
	}
	stale := []string{StackFileName, processesName, "config", "logs", "policies"}
	if !keepState {
		stale = append(stale, planName, "keys", "tls", "etcd", "cache")
	}
	for _, name := range stale {
		if err := os.RemoveAll(filepath.Join(f.dir, name)); err != nil {
			return fmt.Errorf("remove the last run's state: %w", err)
		}
	}
	for _, name := range []string{"config", "logs", "policies", "keys", "tls", "etcd", "cache"} {
		if err := os.MkdirAll(filepath.Join(f.dir, name), 0o700); err != nil {
			return fmt.Errorf("make the stack's folder: %w", err)
		}
	}
	return nil
}

// close gives the lock back. The lock file stays: it marks the folder as ours.
func (f *folder) close() error { return f.lock.Close() }

func checkOurs(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, lockName)); err == nil {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the stack's folder: %w", err)
	}
	if len(entries) > 0 {
		return misconfigured("%s has files in it that no stack has made: give an empty or a new folder with --dir", dir)
	}
	return nil
}

func lockHolder(dir string) int {
	data, err := os.ReadFile(filepath.Join(dir, lockName))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return pid
}

// A processEntry remembers a child, so that the next start can end it if this
// one is killed in a way that leaves it alive.
type processEntry struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start string `json:"start"`
}

func (f *folder) remember(children []*child) error {
	entries := make([]processEntry, 0, len(children))
	for _, c := range children {
		entries = append(entries, processEntry{Name: c.name, PID: c.pid, Start: c.start})
	}
	return writeJSON(filepath.Join(f.dir, processesName), entries)
}

// killLeftovers ends the processes of a stack that is gone. A process whose
// start is another than remembered has only inherited the number: it is left
// alone.
func (f *folder) killLeftovers() error {
	data, err := os.ReadFile(filepath.Join(f.dir, processesName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read which processes the last stack had: %w", err)
	}
	var entries []processEntry
	if err := json.Unmarshal(data, &entries); err != nil {
		return fmt.Errorf("read which processes the last stack had, from %s: %w", processesName, err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, e := range entries {
		if start, ok := processStart(e.PID); !ok || e.Start == "" || start != e.Start {
			continue
		}
		if err := syscall.Kill(e.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end %s (pid %d), left over from the last stack: %w", e.Name, e.PID, err)
		}
		if !awaitGone(e, deadline) {
			return fmt.Errorf("%s (pid %d) of the last stack does not end, though it was killed", e.Name, e.PID)
		}
	}
	return nil
}

func awaitGone(e processEntry, deadline time.Time) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		if start, ok := processStart(e.PID); !ok || start != e.Start {
			return true
		}
		<-tick.C
	}
	return false
}
