//go:build linux

package processtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/admin"
	"github.com/stampgate/stampgate/infra/e2e"
)

// A process is one gateway process after another, at the same addresses.
type process struct {
	t      testing.TB
	name   string
	url    string
	admin  string
	gossip string
	config string   // file
	log    string   // file, of all its lives
	env    []string // beside the test's own
	nofile int      // limit of open files; 0: the test's own
	http   *http.Client

	cmd  *exec.Cmd
	done chan struct{}
	exit error // read only after done is closed
}

// A stamp is gateways that are processes, with the rest of the product.
type stamp struct {
	*e2e.Stack
	processes []*process
}

type stampOptions struct {
	e2e.Options
	notice, timeout time.Duration
	// noStart leaves the start to the test.
	noStart bool
}

// startStamp starts a stamp of processes in swedencentral with gossip.
func startStamp(t *testing.T, opt stampOptions) *stamp {
	t.Helper()
	opt.NoGateways = true
	s := &stamp{Stack: e2e.Start(t, opt.Options)}
	dir := t.TempDir()
	key := filepath.Join(dir, "gossip.key")
	write(t, key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n")
	client := newClient(t, s.CAFile)
	var seeds []string
	for i, g := range s.Gateways {
		host := fmt.Sprintf("127.31.0.%d", i+1)
		p := &process{
			t: t, name: g.Name, url: freeAddress(t, host), admin: freeAddress(t, host), gossip: freeAddress(t, host),
			config: filepath.Join(dir, g.Name+".yaml"), log: filepath.Join(dir, g.Name+".log"),
		}
		seeds = append(seeds, p.gossip)
		s.processes = append(s.processes, p)
	}
	for i, g := range s.Gateways {
		p, cfg := s.processes[i], g.Config
		cfg.Listen, cfg.Admin = p.url, &gateway.Admin{Listen: p.admin}
		cfg.Gossip = &gateway.Gossip{Listen: p.gossip, Join: seeds, KeyFile: key, Fast: true}
		cfg.Drain = gateway.Drain{Notice: policy.Duration(opt.notice), Timeout: policy.Duration(opt.timeout)}
		text, err := yaml.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		write(t, p.config, string(text))
		p.url, p.admin, p.http = "http://"+p.url, "http://"+p.admin, client
		if opt.TLS {
			p.url = "https" + strings.TrimPrefix(p.url, "http")
		}
		t.Cleanup(p.kill)
		if !opt.noStart {
			p.start()
		}
	}
	for _, p := range s.processes {
		if !opt.noStart {
			p.awaitReady()
			s.awaitMembers(p, len(s.processes))
		}
	}
	return s
}

// newClient returns a client with connections of its own. With an authority it
// speaks HTTP/2 where it can.
func newClient(t testing.TB, caFile string) *http.Client {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 64, ForceAttemptHTTP2: true}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddress returns an address that nobody listens on. On a loopback address
// of its own nothing else takes the port before the gateway does.
func freeAddress(t testing.TB, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the process; the kernel kills it should the test die.
func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	args := []string{gatewayBinary, "--config", p.config, "--allow-loopback-backends"}
	if p.nofile > 0 {
		args = append([]string{"/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, p.nofile), "sh"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	spawn <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		p.exit = cmd.Wait()
		close(done)
	}()
}

// signal sends a signal to the process.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%s: %v: %v", p.name, s, err)
	}
}

// awaitExit waits for the process's end and returns why it ended.
func (p *process) awaitExit() error {
	p.t.Helper()
	select {
	case <-p.done:
		return p.exit
	case <-time.After(e2e.Limit):
		p.t.Fatalf("%s does not end", p.name)
		return nil
	}
}

// kill ends the process at the end of the test.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
	if p.t.Failed() {
		p.t.Logf("%s said:\n%s", p.name, gist(p.said()))
	}
}

// gist is what the end of a failed test needs of a log: without the lines of
// requests that were served, and not more than its end.
func gist(log []byte) []byte {
	const most = 16 << 10
	lines := slices.DeleteFunc(bytes.SplitAfter(log, []byte("\n")), func(line []byte) bool {
		return bytes.Contains(line, []byte(`"status":200,"outcome":"ok"`))
	})
	log = bytes.Join(lines, nil)
	return log[max(0, len(log)-most):]
}

// said is all that the process has written.
func (p *process) said() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Error(err)
	}
	return text
}

// awaitReady waits until the process's balancer would send to it.
func (p *process) awaitReady() {
	p.t.Helper()
	e2e.Await(p.t, p.name+" is ready", func() bool {
		select {
		case <-p.done:
			p.t.Fatalf("%s ended: %v", p.name, p.exit)
		default:
		}
		return p.health("/health/ready") == http.StatusOK
	})
}

// health asks one of the health paths, as a prober does: by a new connection,
// and not for long. It returns 0 if there was no answer.
func (p *process) health(path string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		p.t.Error(err)
		return 0
	}
	req.Close = true
	resp, err := p.http.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// status reads the admin listener; false if it does not answer.
func (p *process) status() (st admin.Status, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/status", nil)
	if err != nil {
		p.t.Error(err)
		return st, false
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, false
	}
	defer resp.Body.Close()
	return st, json.NewDecoder(resp.Body).Decode(&st) == nil
}

// members lists the names that the gateway's gossip knows, with their boots.
func (p *process) members() map[string]string {
	out := map[string]string{}
	if st, ok := p.status(); ok && st.Gossip != nil {
		for _, m := range st.Gossip.Members {
			out[m.Gateway] = m.Name
		}
	}
	return out
}

func (s *stamp) awaitMembers(p *process, n int) {
	p.t.Helper()
	e2e.Await(p.t, fmt.Sprintf("%s knows %d members", p.name, n), func() bool { return len(p.members()) == n })
}
