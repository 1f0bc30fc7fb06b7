package netnstest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/admin"
	"github.com/stampgate/stampgate/gateway/auth"
)

// limit bounds every wait: far beyond what a busy machine takes, so that only a
// fault reaches it.
const limit = 60 * time.Second

// A stamp is gateways, each a process in a namespace of its own.
type stamp struct {
	*network
	key      string // of the client that may use the route
	dir      string
	tcpOnly  bool
	gateways []*node
}

// A node is one gateway.
type node struct {
	*port
	stamp   *stamp
	name    string
	config  string // its configuration file
	admin   *http.Client
	process *exec.Cmd
	backend bool // its simulated instances run
}

const (
	listenPort = 8080
	adminAddr  = "127.0.0.1:9443"
	simAddr    = "127.0.0.1:9000"
	gossipPort = 7946
	chatPath   = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
	chatBody   = `{"messages":[{"role":"user","content":"Say hello."}]}`
	throttled  = "ptu" // the backend that is tried first
)

// stampOptions shape a stamp. Its gateways run the LAN profile, the default.
type stampOptions struct {
	gateways int
	delay    time.Duration
	tcpOnly  bool
	// before changes the network before any gateway runs on it.
	before func(*stamp)
}

// startStamp starts the gateways at once, as after a power cut. It does not wait
// for them to know each other.
func startStamp(t *testing.T, opt stampOptions) *stamp {
	t.Helper()
	require(t)
	if opt.delay > 0 {
		abilities().needDelay(t)
	}
	key, err := auth.NewKey("eu")
	must(t, err)
	s := &stamp{network: newNetwork(t, opt.delay), key: key, dir: t.TempDir(), tcpOnly: opt.tcpOnly}
	s.writeShared()
	for range opt.gateways {
		p := s.plug()
		g := &node{port: p, stamp: s, name: "gw-" + p.device[1:], admin: client(t, p.namespace, 5*time.Second)}
		s.gateways = append(s.gateways, g)
	}
	if opt.before != nil {
		opt.before(s)
	}
	for _, g := range s.gateways {
		g.writeConfig()
		g.start()
	}
	return s
}

// writeShared writes what all gateways of the stamp read.
func (s *stamp) writeShared() {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	hash := sha256.Sum256([]byte(s.key))
	s.write("gossip.key", base64.StdEncoding.EncodeToString(secret)+"\n")
	s.write("backend.key", "key-of-the-backend")
	s.write("policy.yaml", fmt.Sprintf(`boundary: eu
residency: {countries: [SE]}
stamps: [{region: swedencentral, fallback: []}]
backends:
  - name: ptu
    region: swedencentral
    endpoint: http://127.0.0.2:9001
    credential: {apiKeyFile: %[1]s}
    deployments: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20", sku: ProvisionedManaged, ptu: 100}]
  - name: std
    region: swedencentral
    endpoint: http://127.0.0.3:9001
    credential: {apiKeyFile: %[1]s}
    deployments: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20", sku: Standard, tokensPerMinute: 450000}]
routes:
  - {name: gpt-4o, model: gpt-4o, version: "2024-11-20", timeouts: {connect: 2s, firstByte: 5s, idle: 5s, total: 1m}}
clients:
  - name: payroll
    keys: [{sha256: %[2]s, notAfter: 2100-01-01T00:00:00Z}]
    routes: [gpt-4o]
`, filepath.Join(s.dir, "backend.key"), hex.EncodeToString(hash[:])))
}

func (s *stamp) write(name, text string) {
	s.t.Helper()
	must(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
}

// writeConfig names the first two gateways as seeds.
func (g *node) writeConfig() {
	var seeds []string
	for _, other := range g.stamp.gateways[:min(2, len(g.stamp.gateways))] {
		seeds = append(seeds, fmt.Sprintf("%s:%d", other.addr, gossipPort))
	}
	name := g.name + ".yaml"
	g.config = filepath.Join(g.stamp.dir, name)
	g.stamp.write(name, fmt.Sprintf(`boundary: eu
region: swedencentral
name: %s
listen: 0.0.0.0:%d
tls: {disabled: true}
admin: {listen: %q}
residency: {countries: [SE]}
policy: {file: %s, cacheDir: %s}
gossip: {listen: "0.0.0.0:%d", join: [%s], keyFile: %s, tcpOnly: %t}
drain: {notice: 1ms, timeout: 1s}
`, g.name, listenPort, adminAddr, filepath.Join(g.stamp.dir, "policy.yaml"), filepath.Join(g.stamp.dir, g.name),
		gossipPort, strings.Join(seeds, ", "), filepath.Join(g.stamp.dir, "gossip.key"), g.stamp.tcpOnly))
}

// start runs the gateway and returns at once.
func (g *node) start() {
	g.stamp.t.Helper()
	g.process = g.run("gateway", "--config", g.config, "--allow-loopback-backends")
}

// run runs a command in the node's namespace until the test ends. What it logs
// is shown if the test fails.
func (g *node) run(name string, args ...string) *exec.Cmd {
	t := g.stamp.t
	t.Helper()
	log, err := os.CreateTemp(g.stamp.dir, g.name+"-"+name+"-*.log")
	must(t, err)
	args = append([]string{"netns", "exec", g.namespace, filepath.Join(binDir, name)}, args...)
	cmd := exec.Command("ip", args...) // ip becomes the command: one process, one pid
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have been killed before
		_ = cmd.Wait()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s of %s logged last:\n%s", name, g.name, text[max(0, len(text)-8<<10):])
		}
	})
	return cmd
}

// kill ends the gateway without a chance to say goodbye.
func (g *node) kill() {
	g.stamp.t.Helper()
	must(g.stamp.t, g.process.Process.Kill())
	_ = g.process.Wait()
}

// startBackend runs the gateway's simulated instances.
func (g *node) startBackend() {
	g.stamp.t.Helper()
	if g.backend {
		return
	}
	g.backend = true
	g.run("loadtest", "simulate", "--control", simAddr, "--api-key", "key-of-the-backend",
		"--instance", "name=ptu,region=Sweden Central,listen=127.0.0.2:9001,deployment=gpt-4o:gpt-4o:2024-11-20:ProvisionedManaged:ptu=1000",
		"--instance", "name=std,region=Sweden Central,listen=127.0.0.3:9001,deployment=gpt-4o:gpt-4o:2024-11-20:Standard:tpm=100000000:rpm=10000000")
	await(g.stamp.t, g.name+"'s backends", func() bool {
		resp, err := g.admin.Get("http://" + simAddr + "/instances")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// status asks the gateway's admin listener, over its own loopback.
func (g *node) status() (admin.Status, bool) {
	var s admin.Status
	resp, err := g.admin.Get("http://" + adminAddr + "/status")
	if err != nil {
		return s, false
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&s)
	return s, err == nil && s.Gossip != nil
}

// members counts the members that the gateway sees; 0 when it does not answer.
func (g *node) members() int {
	s, ok := g.status()
	if !ok {
		return 0
	}
	return len(s.Gossip.Members)
}

// gated reports whether the gateway leaves the throttled target alone.
func (g *node) gated() bool {
	s, _ := g.status()
	for _, target := range s.Targets {
		if target.Backend == throttled {
			return target.Gate > 0
		}
	}
	return false
}

// throttle has a backend of the gateway answer 429 to one request, and returns
// when that request was sent.
func (g *node) throttle(t *testing.T) time.Time {
	t.Helper()
	g.startBackend()
	await(t, g.name+" is ready", func() bool { s, ok := g.status(); return ok && s.Health == "pass" })
	resp, err := g.admin.Post("http://"+simAddr+"/instances/"+throttled+"/faults", "application/json",
		strings.NewReader(`{"kind":"throttle","retry-after":"600","count":1}`))
	must(t, err)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("the fault was not taken: %s", resp.Status)
	}
	sent := time.Now()
	code, attempts, err := chat(t.Context(), g.admin, "127.0.0.1", g.stamp.key)
	if err != nil || code != http.StatusOK || attempts != "2" {
		t.Fatalf("status %d after %s attempts, %v; want 200 after 2", code, attempts, err)
	}
	if !g.gated() {
		t.Fatalf("%s does not gate a target that answered 429", g.name)
	}
	return sent
}

// chat sends a call to the gateway at host.
func chat(ctx context.Context, c *http.Client, host, key string) (code int, attempts string, err error) {
	url := fmt.Sprintf("http://%s:%d%s", host, listenPort, chatPath)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(chatBody)))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("api-key", key)
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("x-stampgate-attempts"), err
}

// await waits until what holds and returns how long that took.
func await(t *testing.T, what string, holds func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Since(begun) > limit {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
	return time.Since(begun)
}

// hold lets time pass in which something must not happen.
func hold(d time.Duration) { <-time.After(d) }

// all reports whether it holds for every gateway.
func all(gateways []*node, holds func(*node) bool) bool {
	for _, g := range gateways {
		if !holds(g) {
			return false
		}
	}
	return true
}

// awaitWhole waits until each of the gateways sees them all, and no other, and
// has every other's report.
func awaitWhole(t *testing.T, gateways []*node) time.Duration {
	t.Helper()
	return await(t, fmt.Sprintf("%d gateways know each other", len(gateways)), func() bool {
		return all(gateways, func(g *node) bool {
			s, ok := g.status()
			return ok && len(s.Gossip.Members) == len(gateways) && s.Gossip.Reports == len(gateways)-1
		})
	})
}

// awaitGated waits until each of the gateways leaves the throttled target alone.
// It returns how long after since that was.
func awaitGated(t *testing.T, gateways []*node, since time.Time) time.Duration {
	t.Helper()
	await(t, "the 429 of one gateway gates the target at its peers", func() bool { return all(gateways, (*node).gated) })
	return time.Since(since)
}

// lives maps "who sees whom, in which boot" to since when: a member that was
// declared dead and came back has another time.
func lives(t *testing.T, gateways []*node) map[string]time.Time {
	t.Helper()
	seen := map[string]time.Time{}
	for _, g := range gateways {
		s, ok := g.status()
		if !ok {
			t.Fatalf("%s does not tell its status", g.name)
		}
		for _, m := range s.Gossip.Members {
			seen[g.name+" sees "+m.Name] = m.Since
		}
	}
	return seen
}

// noDeaths fails the test for each member that was declared dead since before.
func noDeaths(t *testing.T, gateways []*node, before map[string]time.Time) {
	t.Helper()
	now := lives(t, gateways)
	for who, since := range before {
		if !now[who].Equal(since) {
			t.Errorf("%s: declared dead though it runs (live since %v, before since %v)", who, now[who], since)
		}
	}
}
