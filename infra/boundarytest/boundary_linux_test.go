package boundarytest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/gateway/admin"
	"github.com/stampgate/stampgate/gateway/auth"
	"github.com/stampgate/stampgate/infra/terraform/plan"
)

const (
	home, other = "swedencentral", "francecentral"
	metadata    = "169.254.169.254"
	hostName    = "openai.eu.example.com"
	profile     = "11111111-2222-3333-4444-555555555555" // the example's Front Door
	limit       = 60 * time.Second                       // far beyond what a busy machine takes
)

var root = filepath.Join("..", "..")

// A boundary is the example, as planned, laid out on this machine.
type boundary struct {
	*lab
	networks *plan.Networks
	example  *plan.Example
	dir      string
	key      string // of the policy's client
	ca       string // file of the gateways' authority
	pool     *x509.CertPool
}

var prepared = sync.OnceValues(func() (*plan.Example, error) {
	dir, err := os.MkdirTemp("", "boundarytest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	tf, err := plan.Prepare(ctx, root, dir)
	if err != nil {
		return nil, err
	}
	return tf.Plan(ctx)
})

// layOut makes the parties of the home region, one gateway's subnet and etcd of
// the other, and everybody outside that a rule speaks of.
func layOut(t *testing.T) *boundary {
	t.Helper()
	require(t)
	example, err := prepared()
	if err != nil {
		t.Fatal(err)
	}
	networks, err := plan.ReadNetworks(example.Regions)
	if err != nil {
		t.Fatal(err)
	}
	b := &boundary{lab: newLab(t), networks: networks, example: example, dir: t.TempDir()}
	at := func(name, region, subnet string, hosts ...int) {
		var addrs []netip.Addr
		var party plan.Party
		for i, n := range hosts {
			p, err := networks.Party(region, subnet, n)
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				party = p
			}
			addrs = append(addrs, p.Address)
		}
		b.add(name, party, addrs...)
	}
	at("gateway1", home, "gateway", 5)
	at("gateway2", home, "gateway", 6)
	at("pls", home, "pls", 4)
	at("endpoint", home, "endpoint", 4, 5) // of both instances
	at("platform", home, "platform", 4)
	at("policy", home, "policy", 4)
	at("database", home, "database", 4)
	at("othergateway", other, "gateway", 5)
	at("otherpolicy", other, "policy", 4)
	at("otherendpoint", other, "endpoint", 4)
	operators := netip.MustParseAddr("10.99.0.7")
	b.add("operators", plan.Party{Address: operators}, operators)
	for tag, addr := range tags() {
		b.add(strings.ToLower(strings.TrimPrefix(tag, "Azure")), plan.Party{Tag: tag}, addr)
	}
	b.enforce(networks, []string{home, other})
	return b
}

// Every party tries every other on every port that anything of ours listens on:
// the kernel, with the planned rules as its filter, agrees with the evaluation
// that the plan's own tests use, in each case.
func TestEveryConnectionIsAsPlanned(t *testing.T) {
	b := layOut(t)
	ports := []int{22, 443, 2379, 2380, 5432, 7946, 8443, 8444, 9443}
	for _, h := range b.hosts {
		b.listen(h, ports)
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 128)
	var mu sync.Mutex // guards the counts
	passed, stopped := 0, 0
	for _, from := range b.hosts {
		for _, to := range b.hosts {
			// Who is outside the boundary on both ends is none of ours.
			if from == to || from.party.Subnet == "" && to.party.Subnet == "" {
				continue
			}
			for _, port := range ports {
				wg.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					want, why := b.networks.Allows(plan.Flow{From: from.party, To: to.party, Port: port, Protocol: "Tcp"})
					got := b.reaches(from, netip.AddrPortFrom(to.addrs[0], uint16(port)), want)
					if got != want {
						t.Errorf("%s to %s port %d: connected %v, the plan says %v (%s)", from.name, to.name, port, got, want, why)
					}
					mu.Lock()
					defer mu.Unlock()
					if got {
						passed++
					} else {
						stopped++
					}
				})
			}
		}
	}
	wg.Wait()
	t.Logf("%d connections passed, %d were stopped", passed, stopped)
	if passed < 20 || stopped < 500 {
		t.Errorf("%d passed and %d were stopped: too few to show anything", passed, stopped)
	}
}

// The planned gateways serve the planned policy's clients from the planned
// instances, through the planned rules, and by no other way.
func TestTheBoundaryServes(t *testing.T) {
	b := layOut(t)
	b.start()
	gateway1, endpoint := b.hosts["gateway1"], b.hosts["endpoint"]
	pls := b.client("pls", true)
	address := netip.AddrPortFrom(gateway1.addrs[0], 8443)
	b.awaitHealth("pls", "/health/stamp", http.StatusOK)

	t.Run("Front Door's way in serves, from the home region first", func(t *testing.T) {
		code, header, body := b.chat(t, pls, address, profile)
		if code != http.StatusOK || header.Get("x-stampgate-region") != home || header.Get("x-stampgate-boundary") != "eu" {
			t.Errorf("status %d from region %q of %q: %s", code, header.Get("x-stampgate-region"), header.Get("x-stampgate-boundary"), body)
		}
	})
	t.Run("another Front Door, or none, does not", func(t *testing.T) {
		for _, id := range []string{"", "99999999-2222-3333-4444-555555555555"} {
			if code, _, body := b.chat(t, pls, address, id); code == http.StatusOK {
				t.Errorf("X-Azure-FDID %q: status %d: %s", id, code, body)
			}
		}
	})
	t.Run("the balancer's probe is answered without either", func(t *testing.T) {
		b.awaitHealth("loadbalancer", "/health/ready", http.StatusOK)
	})
	t.Run("the gateways find each other, over TCP and UDP", func(t *testing.T) {
		b.await("two members", func() bool {
			s, ok := b.status(gateway1)
			return ok && s.Gossip != nil && len(s.Gossip.Members) == 2 && s.Gossip.Reports == 1 && !s.Gossip.UDPBlocked
		})
	})
	t.Run("nobody but a gateway reaches an instance", func(t *testing.T) {
		for _, instance := range endpoint.addrs {
			b.onlyReach(t, endpoint, netip.AddrPortFrom(instance, 443), func(name string) bool { return strings.HasPrefix(name, "gateway") })
		}
	})
	t.Run("and nobody but Front Door's way in and the balancer reaches a gateway", func(t *testing.T) {
		b.onlyReach(t, gateway1, address, func(name string) bool { return name == "pls" || name == "loadbalancer" })
	})
	t.Run("when the home region's instance is lost, the other region's serves", func(t *testing.T) {
		b.lose(endpoint.addrs[0])
		b.await("an answer from the other region", func() bool {
			code, header, _ := b.chat(t, pls, address, profile)
			return code == http.StatusOK && header.Get("x-stampgate-region") == other
		})
	})
	t.Run("when both are lost, the answer is no and not somewhere else", func(t *testing.T) {
		b.lose(endpoint.addrs[1])
		b.await("an answer that says so", func() bool {
			code, _, body := b.chat(t, pls, address, profile)
			if code == http.StatusOK {
				t.Errorf("status %d from an instance that nobody reaches: %s", code, body)
			}
			return code >= 500
		})
	})
}

// start runs the simulated instances and two gateways, as planned.
func (b *boundary) start() {
	b.t.Helper()
	binaries := filepath.Join(b.dir, "bin") + "/"
	build := exec.CommandContext(b.t.Context(), "go", "build", "-o", binaries, "./cmd/gateway", "./cmd/loadtest")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	endpoint := b.hosts["endpoint"]
	b.must("ip", "-n", endpoint.namespace, "addr", "add", metadata+"/32", "dev", "eth0")
	b.must("ip", "-n", b.router, "route", "add", metadata+"/32", "via", endpoint.addrs[0].String(), "dev", b.cable("endpoint"), "onlink")
	policyText, instances := b.policy()
	authority := filepath.Join(b.dir, "instances.pem")
	args := []string{"simulate", "--control", metadata + ":80", "--ca-file", authority}
	var hosts strings.Builder
	for i, one := range instances {
		args = append(args, "--instance", fmt.Sprintf("name=%s,region=%s,listen=%s:443,tls=true,tls-name=%s.openai.azure.com%s",
			one.name, one.region, endpoint.addrs[i], one.name, one.deployments))
		fmt.Fprintf(&hosts, "%s %s.openai.azure.com\n", endpoint.addrs[i], one.name)
	}
	b.run(endpoint, nil, binaries+"loadtest", args...)
	b.await("the instances' certificate", func() bool { _, err := os.Stat(authority); return err == nil })

	b.certificate()
	b.write("policy.yaml", policyText)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	b.write("secrets/gossip.keys", base64.StdEncoding.EncodeToString(secret)+"\n")
	b.write("secrets/admin.token", "the-token-of-operators\n")
	for _, name := range []string{"gateway1", "gateway2"} {
		h := b.hosts[name]
		b.hostsFile(h, hosts.String())
		config := b.config(name)
		b.run(h, []string{"SSL_CERT_FILE=" + authority}, binaries+"gateway", "--config", config)
	}
}

func (b *boundary) cable(name string) string {
	b.t.Helper()
	out, err := exec.CommandContext(b.t.Context(), "ip", "-n", b.router, "-j", "route", "get", b.hosts[name].addrs[0].String()).Output()
	var routes []struct{ Dev string }
	if err == nil {
		err = json.Unmarshal(out, &routes)
	}
	if err != nil || len(routes) != 1 {
		b.t.Fatalf("%v: %s", err, out)
	}
	return routes[0].Dev
}

type instance struct{ name, region, deployments string }

// policy is layer 30's, for a client whose key the test knows; and the instances
// that it names.
func (b *boundary) policy() (text string, instances []instance) {
	b.t.Helper()
	key, err := auth.NewKey("eu")
	if err != nil {
		b.t.Fatal(err)
	}
	b.key = key
	hash := sha256.Sum256([]byte(key))
	text, _ = b.example.Instances.Outputs["policy"].(string)
	swapped := regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(text, hex.EncodeToString(hash[:]))
	if swapped == text {
		b.t.Fatal("the planned policy names no client's key")
	}
	var doc struct {
		Backends []struct {
			Name, Region string
			Deployments  []struct {
				Name, Model, Version, SKU string
				PTU                       int
				TokensPerMinute           int `yaml:"tokensPerMinute"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		b.t.Fatal(err)
	}
	for _, one := range doc.Backends {
		made := instance{name: one.Name, region: one.Region}
		for _, d := range one.Deployments {
			capacity := fmt.Sprintf("tpm=%d", d.TokensPerMinute)
			if d.PTU > 0 {
				capacity = fmt.Sprintf("ptu=%d", d.PTU)
			}
			made.deployments += fmt.Sprintf(",deployment=%s:%s:%s:%s:%s", d.Name, d.Model, d.Version, d.SKU, capacity)
		}
		instances = append(instances, made)
	}
	// The home region's instance is the one with the first address.
	slices.SortFunc(instances, func(x, y instance) int {
		return strings.Compare(fmt.Sprint(x.region != home), fmt.Sprint(y.region != home))
	})
	return swapped, instances
}

// config is the configuration that layer 50 gives each machine. Only two things
// are not as planned: its files are in the test's folder, and the policy comes
// from a file, as there is no etcd here.
func (b *boundary) config(name string) string {
	b.t.Helper()
	text, _ := b.example.Stamps[home].Outputs["gateway_config"].(string)
	var doc map[string]any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || doc["policy"] == nil {
		b.t.Fatalf("%v: %s", err, text)
	}
	doc["policy"] = map[string]any{"file": filepath.Join(b.dir, "policy.yaml"), "cacheDir": filepath.Join(b.dir, name)}
	doc["name"] = name
	doc["drain"] = map[string]any{"notice": "1ms", "timeout": "1s"} // the test does not wait for streams
	out, err := yaml.Marshal(doc)
	if err != nil {
		b.t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(out), "/etc/stampgate/secrets", filepath.Join(b.dir, "secrets"))
	return b.write(name+".yaml", changed)
}

func (b *boundary) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// certificate makes the gateways' own, for the boundary's name.
func (b *boundary) certificate() {
	b.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hostName}, DNSNames: []string{hostName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		b.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	b.ca = b.write("secrets/tls.crt", string(text))
	b.write("secrets/tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	b.pool = x509.NewCertPool()
	b.pool.AppendCertsFromPEM(text)
}

// client calls from a host, over TLS to the boundary's name.
func (b *boundary) client(from string, checked bool) *http.Client {
	h := b.hosts[from]
	return &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{
		// A balancer does not check certificates, everybody else does.
		TLSClientConfig: &tls.Config{ServerName: hostName, RootCAs: b.pool, InsecureSkipVerify: !checked},
		DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return h.dial(to, 5*time.Second)
		},
		DisableKeepAlives: true,
	}}
}

func (b *boundary) chat(t *testing.T, c *http.Client, to netip.AddrPort, frontDoor string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"https://"+to.String()+"/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
		bytes.NewReader([]byte(`{"messages":[{"role":"user","content":"Say hello."}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("api-key", b.key)
	if frontDoor != "" {
		req.Header.Set("X-Azure-FDID", frontDoor)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, http.Header{}, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return resp.StatusCode, resp.Header, string(body)
}

func (b *boundary) awaitHealth(from, path string, want int) {
	b.t.Helper()
	c := b.client(from, from != "loadbalancer")
	url := "https://" + netip.AddrPortFrom(b.hosts["gateway1"].addrs[0], 8443).String() + path
	b.await(fmt.Sprintf("%s answers %d", path, want), func() bool {
		resp, err := c.Get(url)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == want
	})
}

// status asks a gateway's admin listener, which answers on its own machine only.
func (b *boundary) status(h *host) (s admin.Status, ok bool) {
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, _, address string) (conn net.Conn, err error) {
			err = h.in(func() (err error) { conn, err = net.DialTimeout("tcp4", address, time.Second); return err })
			return conn, err
		},
	}}
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "http://127.0.0.1:9443/status", nil)
	if err != nil {
		return s, false
	}
	req.Header.Set("Authorization", "Bearer the-token-of-operators")
	resp, err := c.Do(req)
	if err != nil {
		return s, false
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s) == nil
}

func (b *boundary) await(what string, holds func() bool) {
	b.t.Helper()
	begun := time.Now()
	for !holds() {
		if time.Since(begun) > limit {
			b.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.t.Logf("%s after %v", what, time.Since(begun).Round(time.Millisecond))
}
