package azuresim_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const (
	testKey    = "0123456789abcdef"
	apiVersion = "2024-10-21"
	hello      = `{"messages":[{"role":"user","content":"Hello!"}]}`
	helloEvent = `{"stream":true,"messages":[{"role":"user","content":"Hello!"}]}`
)

// instance is a usual resource; change says what a test wants different.
func instance(name string, change func(*azuresim.InstanceConfig)) azuresim.InstanceConfig {
	i := azuresim.InstanceConfig{
		Name: name, Region: "Sweden Central", Listen: "127.0.0.5:0", APIKey: testKey,
		Deployments: []azuresim.DeploymentConfig{
			{Name: "chat", Model: "gpt-4o", Version: "2024-11-20"},
			{Name: "words", Model: "gpt-35-turbo-instruct", Version: "0914"},
			{Name: "vectors", Model: "text-embedding-3-small", Version: "1"},
		},
	}
	if change != nil {
		change(&i)
	}
	return i
}

// start runs a simulator for the length of the test; its log goes to the test.
func start(t *testing.T, cfg azuresim.Config) *azuresim.Sim {
	t.Helper()
	sim, err := azuresim.Start(t.Context(), cfg, zerolog.New(t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return sim
}

// one runs a simulator with a single instance.
func one(t *testing.T, change func(*azuresim.InstanceConfig)) *azuresim.Instance {
	t.Helper()
	return start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{instance("swc", change)}}).Instance("swc")
}

// client makes connections of its own, so that tests do not meet in a pool.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// tlsClient trusts the simulator's authority; h2 tells whether it may speak HTTP/2.
func tlsClient(t *testing.T, sim *azuresim.Sim, h2 bool) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: sim.CertPool()}, ForceAttemptHTTP2: h2}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// a call is one request, with what a test wants different from a usual one.
type call struct {
	method string // POST
	path   string // chat completions of deployment chat
	body   string
	header map[string]string // an empty value removes one
}

const chatPath = "/openai/deployments/chat/chat/completions?api-version=" + apiVersion

func (c call) request(t *testing.T, base string) *http.Request {
	t.Helper()
	if c.method == "" {
		c.method = http.MethodPost
	}
	if c.path == "" {
		c.path = chatPath
	}
	if c.body == "" && c.method == http.MethodPost {
		c.body = hello
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Api-Key", testKey)
	r.Header.Set("Content-Type", "application/json")
	for k, v := range c.header {
		r.Header.Del(k)
		if v != "" {
			r.Header.Set(k, v)
		}
	}
	return r
}

// reply is a response read to its end.
type reply struct {
	*http.Response
	text string
	err  error // of reading the body
}

// do sends the call and reads all of the answer; an error of sending is
// returned, one of reading is kept.
func (c call) do(t *testing.T, hc *http.Client, base string) (reply, error) {
	t.Helper()
	resp, err := hc.Do(c.request(t, base))
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, resp.Body)
	return reply{Response: resp, text: b.String(), err: err}, nil
}

// must is do for calls that get a whole answer.
func (c call) must(t *testing.T, base string) reply {
	t.Helper()
	r, err := c.do(t, client(t), base)
	if err != nil {
		t.Fatal(err)
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r
}

// await polls until done is true; it fails the test after a long time only.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("still not so: " + what)
		}
	}
}
