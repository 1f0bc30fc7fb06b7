package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/apitest"
	"github.com/stampgate/stampgate/controlplane/store/storetest"
	"github.com/stampgate/stampgate/infra/devstack"
	"github.com/stampgate/stampgate/infra/needs"
)

// The programs are built once, without the race detector: what is tested here
// are processes, and their own tests run them under it.
func builtPrograms(t *testing.T) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// programsDir is made and removed by TestMain.
var programsDir string

var programs = sync.OnceValues(func() (string, error) {
	// The flags of make build, so that whichever comes second finds it done.
	cmd := exec.Command("go", "build", "-trimpath", "-o", programsDir, "../controlplane", "../gateway", "../loadtest", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return programsDir, nil
})

// A devRun is a running stampctl dev.
type devRun struct {
	t       *testing.T
	cmd     *exec.Cmd
	dir     string
	out     apitest.Log
	errs    apitest.Log
	ended   chan struct{}
	exitErr error // read only after ended is closed
}

func startDev(t *testing.T, dir string, flags ...string) *devRun {
	t.Helper()
	d := &devRun{t: t, dir: dir, ended: make(chan struct{})}
	d.cmd = exec.Command(filepath.Join(builtPrograms(t), "stampctl"), append([]string{"dev", "--dir", dir}, flags...)...)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.errs
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.exitErr = d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		<-d.ended
		if t.Failed() {
			t.Logf("stampctl dev said:\n%s\n%s", d.out.String(), d.errs.String())
		}
	})
	return d
}

// ready waits for the stack file.
func (d *devRun) ready() *devstack.Stack {
	d.t.Helper()
	var s *devstack.Stack
	storetest.Eventually(d.t, "the stack file", func() bool {
		var err error
		s, err = devstack.Load(filepath.Join(d.dir, devstack.StackFileName))
		select {
		case <-d.ended:
			d.t.Fatalf("stampctl dev ended: %v\n%s", d.exitErr, d.errs.String())
		default:
		}
		return err == nil && s.PID == d.cmd.Process.Pid // not that of a killed one before
	})
	return s
}

// exit waits for the end and returns the exit code.
func (d *devRun) exit() int {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(time.Minute):
		d.t.Fatal("stampctl dev does not end")
	}
	return d.cmd.ProcessState.ExitCode()
}

func pidsOf(s *devstack.Stack) []int {
	pids := []int{s.ControlPlane.PID}
	for _, b := range s.Boundaries {
		for _, g := range b.Gateways {
			pids = append(pids, g.PID)
		}
		for _, i := range b.Backends {
			pids = append(pids, i.PID)
		}
	}
	return pids
}

// alive reports whether a process runs; its remains do not count.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func awaitDead(t *testing.T, pids []int) {
	t.Helper()
	storetest.Eventually(t, fmt.Sprintf("end of all of %v", pids), func() bool {
		return !slices.ContainsFunc(pids, alive)
	})
}

func chat(t *testing.T, gateway, key string) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gateway+"/openai/v1/chat/completions",
		strings.NewReader(`{"model":"gpt-5.4","messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("api-key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, resp.Header
}

// two is a stack of two stamps with one gateway each.
func two() []string { return []string{"--boundaries", "eu", "--gateways", "1"} }

func TestDevServesFromEveryGatewayAndStopsWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	d := startDev(t, dir, two()...)
	s := d.ready()
	eu := s.Boundaries["eu"]
	if len(s.Boundaries) != 1 || len(eu.Gateways) != 2 || len(eu.Backends) != 4 || len(eu.Etcd) != 1 || len(eu.Clients) != 2 {
		t.Fatalf("stack file: %+v", eu)
	}
	for _, g := range eu.Gateways {
		code, header := chat(t, g.URL, eu.Clients[0].Key)
		if code != http.StatusOK || header.Get("x-stampgate-gateway") != g.Name || header.Get("x-stampgate-region") != string(g.Region) ||
			header.Get("x-stampgate-target") != eu.Backends[slices.IndexFunc(eu.Backends, func(b devstack.Backend) bool { return b.Region == g.Region })].Name+"/gpt-5.4-ptu" {
			t.Errorf("%s answers %d, %v", g.Name, code, header)
		}
		if g.AdminToken == "" || g.AdminURL == "" || g.Gossip == "" {
			t.Errorf("%s: a field is empty: %+v", g.Name, g)
		}
	}
	info, err := os.Stat(filepath.Join(dir, devstack.StackFileName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the stack file has mode %v, %v; want 0600", info.Mode().Perm(), err)
	}

	again := startDev(t, dir, two()...)
	if code := again.exit(); code != command.Failed || !strings.Contains(again.errs.String(), "kill "+strconv.Itoa(s.PID)) {
		t.Errorf("a second start exits with %d and says %q", code, again.errs.String())
	}

	pids := pidsOf(s)
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := d.exit(); code != command.Done {
		t.Errorf("exit code %d after Ctrl-C, want 0\n%s", code, d.errs.String())
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d outlived the stack", pid)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, devstack.StackFileName)); err == nil {
		t.Error("the stack file is still there")
	}
}

// The curl line is run as it stands, by a shell.
func TestTheCurlLineThatDevPrintsWorks(t *testing.T) {
	needs.Tool(t, "curl")
	for name, flags := range map[string][]string{"plain": nil, "TLS": {"--tls"}} {
		t.Run(name, func(t *testing.T) {
			d := startDev(t, filepath.Join(t.TempDir(), "dev"), append(two(), flags...)...)
			d.ready()
			storetest.Eventually(t, "advice", func() bool { return strings.Contains(d.out.String(), "Ctrl-C stops everything") })
			_, rest, _ := strings.Cut(d.out.String(), "try a request:\n")
			line, _, _ := strings.Cut(rest, "\n\n")
			out, err := exec.Command("sh", "-c", line).Output()
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			var answer struct {
				Object string `json:"object"`
			}
			if err := json.Unmarshal(out, &answer); err != nil || answer.Object != "chat.completion" {
				t.Errorf("%s\nanswers %s", line, out)
			}
		})
	}
}

func TestAKilledDevLeavesNoProcessAndStartsAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	d := startDev(t, dir, two()...)
	pids := pidsOf(d.ready())
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	awaitDead(t, pids)

	again := startDev(t, dir, append(two(), "--output", "json")...)
	eu := again.ready().Boundaries["eu"]
	storetest.Eventually(t, "result", func() bool {
		var shown devstack.Stack
		return json.Unmarshal([]byte(again.out.String()), &shown) == nil && shown.PID == again.cmd.Process.Pid
	})
	if code, _ := chat(t, eu.Gateways[0].URL, eu.Clients[0].Key); code != http.StatusOK {
		t.Errorf("the second stack answers %d", code)
	}
}

func TestADeadGatewayIsReportedAndTheRestGoesOn(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "dev"), two()...)
	s := d.ready()
	eu := s.Boundaries["eu"]
	if err := syscall.Kill(eu.Gateways[0].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "report", func() bool { return strings.Contains(d.errs.String(), "the stack goes on without it") })
	for _, want := range []string{eu.Gateways[0].Name, "signal: killed", "its last lines", `"message":"ready"`} {
		if !strings.Contains(d.errs.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, d.errs.String())
		}
	}
	if code, _ := chat(t, eu.Gateways[1].URL, eu.Clients[0].Key); code != http.StatusOK {
		t.Errorf("the other gateway answers %d", code)
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := d.exit(); code != command.Failed || !strings.Contains(d.errs.String(), "died while the stack ran: "+eu.Gateways[0].Name) {
		t.Errorf("exit code %d, want 1 and the dead named:\n%s", code, d.errs.String())
	}
}

func TestKeptStateGoesOnWithKeysPoliciesAndPorts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	d := startDev(t, dir, two()...)
	before := d.ready()
	stampctl := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(filepath.Join(builtPrograms(t), "stampctl"), args...)
		cmd.Env = append(os.Environ(), envStack+"="+filepath.Join(dir, devstack.StackFileName))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("stampctl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	stampctl("policy", "apply", "--again", "--message", "the second", filepath.Join(dir, "policies", "eu.yaml"))
	if err := d.cmd.Process.Kill(); err != nil { // the harder way to stop
		t.Fatal(err)
	}
	<-d.ended
	awaitDead(t, pidsOf(before))

	again := startDev(t, dir, append(two(), "--keep-state")...)
	after := again.ready()
	eu, was := after.Boundaries["eu"], before.Boundaries["eu"]
	if eu.Clients[0].Key != was.Clients[0].Key || eu.Gateways[0].URL != was.Gateways[0].URL ||
		after.ControlPlane.AdminToken != before.ControlPlane.AdminToken || after.ControlPlane.PublicKey != before.ControlPlane.PublicKey {
		t.Errorf("keys or ports changed:\n%+v\n%+v", before, after)
	}
	if out := stampctl("status", "eu"); !strings.Contains(out, "policy 2 ") || !strings.Contains(out, "the second") || strings.Contains(out, "!") {
		t.Errorf("status after the restart:\n%s", out)
	}
}
