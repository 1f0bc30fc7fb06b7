package devstack

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// small is a stack of one gateway on ports of its own choice.
func small(t *testing.T) Config {
	t.Helper()
	b := DefaultBoundaries()[:1]
	b[0].Regions, b[0].GatewaysPerStamp = b[0].Regions[:1], 1
	return Config{Dir: filepath.Join(t.TempDir(), "dev"), BinDir: impostors(t), Boundaries: b, Log: t.Output()}
}

func mustFail(t *testing.T, c Config) error {
	t.Helper()
	err := Run(t.Context(), c, func(*Stack) { t.Error("the stack calls itself ready") })
	if err == nil {
		t.Fatal("Run succeeded")
	}
	if _, err := os.Stat(filepath.Join(c.Dir, StackFileName)); err == nil {
		t.Error("a stack file was left")
	}
	return err
}

func TestAProgramThatIsNotBuiltIsNamed(t *testing.T) {
	c := small(t)
	if err := os.Remove(filepath.Join(c.BinDir, "gateway")); err != nil {
		t.Fatal(err)
	}
	err := mustFail(t, c)
	if !strings.Contains(err.Error(), "no program gateway in "+c.BinDir) || !strings.Contains(err.Error(), "make build") {
		t.Errorf("Run = %v, want the name of the program and make build", err)
	}
}

func TestAProcessThatDiesAtStartIsReportedWithItsLastLines(t *testing.T) {
	t.Setenv(impostorEnv, "loadtest=dies")
	err := mustFail(t, small(t))
	death, ok := errors.AsType[*DeathError](err)
	if !ok {
		t.Fatalf("Run = %v, want a *DeathError", err)
	}
	if death.Name != "simulator" || death.Status != "exit status 3" || !strings.Contains(err.Error(), "the answer is 42") {
		t.Errorf("Run = %v", err)
	}
}

func TestAFailedStartLeavesNoProcess(t *testing.T) {
	// The control plane stays up and deaf; the simulator's death ends the start.
	t.Setenv(impostorEnv, "loadtest=dies,controlplane=stubborn")
	c := small(t)
	err := mustFail(t, c)
	if !strings.Contains(err.Error(), "killed after") || !strings.Contains(err.Error(), "controlplane") {
		t.Errorf("Run = %v, want to hear that the control plane had to be killed", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir, processesName)); err == nil {
		t.Error("processes are still remembered")
	}
}

func TestAPortThatIsAskedForAndTakenIsNamed(t *testing.T) {
	c := small(t)
	c.PortBase = 17000
	p := layOut(c.Boundaries, c.PortBase)
	busy(t, p.Boundaries[0].Gateways[0].Admin)
	err := mustFail(t, c)
	port, ok := errors.AsType[*PortError](err)
	if !ok || port.Addr != p.Boundaries[0].Gateways[0].Admin {
		t.Fatalf("Run = %v, want a *PortError for %s", err, p.Boundaries[0].Gateways[0].Admin)
	}
	for _, want := range []string{"is in use", "admin listener of gateway eu-swedencentral-1", "--ports"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v, want %q in it", err, want)
		}
	}
}

func TestTwoStartsAtOnceTakeDifferentPorts(t *testing.T) {
	c := small(t)
	var log bytes.Buffer
	c.Log = &log
	first, held, err := choosePorts(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer held.releaseAll()
	second, alsoHeld, err := choosePorts(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	alsoHeld.releaseAll()
	if first.PortBase == second.PortBase {
		t.Errorf("both use the block from %d", first.PortBase)
	}
	if !strings.Contains(log.String(), "using the block from port "+strconv.Itoa(second.PortBase)) {
		t.Errorf("nothing is said of the other block: %q", log.String())
	}
}

func TestASecondStackInTheSameFolderIsRefused(t *testing.T) {
	c := small(t)
	f, err := openFolder(c.Dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	err = mustFail(t, c)
	running, ok := errors.AsType[*RunningError](err)
	if !ok || running.PID != os.Getpid() {
		t.Errorf("Run = %v, want a *RunningError with this process's id", err)
	}
}

func TestAFolderOfSomethingElseIsNotTouched(t *testing.T) {
	c := small(t)
	keys := filepath.Join(c.Dir, "keys")
	if err := os.MkdirAll(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	err := mustFail(t, c)
	if _, ok := errors.AsType[*ConfigError](err); !ok {
		t.Errorf("Run = %v, want a *ConfigError", err)
	}
	if _, err := os.Stat(keys); err != nil {
		t.Errorf("someone's folder is gone: %v", err)
	}
}

// leftover starts a process that nobody of the stack waits for.
func leftover(t *testing.T) (cmd *exec.Cmd, entry processEntry) {
	t.Helper()
	cmd = exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	start, ok := processStart(cmd.Process.Pid)
	if !ok {
		t.Fatal("a running process has no start")
	}
	return cmd, processEntry{Name: "gateway", PID: cmd.Process.Pid, Start: start}
}

func writeEntries(t *testing.T, dir string, entries ...processEntry) {
	t.Helper()
	data, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, processesName), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheNextStartEndsWhatAKilledStackLeftAndNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	f, err := openFolder(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	ours, ourEntry := leftover(t)
	other, otherEntry := leftover(t)
	otherEntry.Start = "another boot/1" // its number was ours once
	gone := processEntry{Name: "gone", PID: 1 << 22, Start: "x/1"}
	writeEntries(t, dir, ourEntry, otherEntry, gone)

	var wg sync.WaitGroup
	wg.Go(func() { _ = ours.Wait() }) // as init does for orphans
	f, err = openFolder(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	wg.Wait()
	if status := ours.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the leftover ended with %v", ours.ProcessState)
	}
	if start, ok := processStart(other.Process.Pid); !ok || start == "" {
		t.Error("a process of someone else was ended")
	}
}

func TestKeptStateOfAnotherStackIsRefused(t *testing.T) {
	c := small(t)
	c.KeepState = true
	t.Setenv(impostorEnv, "loadtest=dies")
	mustFail(t, c) // leaves a plan behind
	c.Boundaries[0].GatewaysPerStamp = 2
	err := mustFail(t, c)
	if _, ok := errors.AsType[*ConfigError](err); !ok || !strings.Contains(err.Error(), "--keep-state") {
		t.Errorf("Run = %v, want a *ConfigError that names --keep-state", err)
	}
}

func TestProcessStartTellsTwoProcessesApart(t *testing.T) {
	self, ok := processStart(os.Getpid())
	if !ok {
		t.Fatal("no start of this process")
	}
	again, _ := processStart(os.Getpid())
	if self != again {
		t.Errorf("two answers for one process: %s, %s", self, again)
	}
	if _, ok := processStart(1 << 22); ok {
		t.Error("a process that cannot be has a start")
	}
}

func TestTailShowsTheLastLinesOfALongLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	var text strings.Builder
	for n := range 5000 {
		text.WriteString("line " + strconv.Itoa(n) + "\n")
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := tail(file, 2); got != "line 4998\nline 4999" {
		t.Errorf("tail = %q", got)
	}
	if got := tail(filepath.Join(t.TempDir(), "none"), 2); got != "" {
		t.Errorf("tail of no file = %q", got)
	}
}

func TestAHalfWrittenReadyLineIsNotRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	for text, want := range map[string]bool{
		`{"message":"ready"}`:                             false, // the end of the line has not come
		`{"message":"ready"}` + "\n":                      true,
		`{"message":"not \"ready\""}` + "\n":              false,
		"text\n" + `{"message":"ready","url":"x"}` + "\n": true,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readyLine(file) != nil; got != want {
			t.Errorf("readyLine of %q found: %t, want %t", text, got, want)
		}
	}
}

func TestStopKillsTheStubbornAfterOneLimitForAll(t *testing.T) {
	t.Setenv(impostorEnv, "gateway=stubborn")
	bin := impostors(t)
	s := newSpawner()
	var children []*child
	for _, name := range []string{"gateway", "gateway", "loadtest", "gateway"} {
		c, err := s.spawn(command{
			name: name, path: filepath.Join(bin, name), env: environment(os.Environ()), log: filepath.Join(t.TempDir(), "log"),
		}, func(*child) {})
		if err != nil {
			t.Fatal(err)
		}
		var nothing struct{}
		if err := c.awaitReady(t.Context(), &nothing); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	err := stop(children, 300*time.Millisecond)
	s.close()
	if err == nil || strings.Count(err.Error(), "gateway") != 3 || strings.Contains(err.Error(), "loadtest") {
		t.Errorf("stop = %v, want the three stubborn ones named", err)
	}
	for _, c := range children {
		if !c.ended() {
			t.Errorf("%s still runs", c.name)
		}
	}
}
