package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/store/storetest"
	"github.com/stampgate/stampgate/infra/devstack"
)

// trusting is a client that believes the file's authority and nobody else.
func trusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", caFile)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestDevWithTLSServesByHTTPSAloneAndKeepsItsAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dev")
	d := startDev(t, dir, append(two(), "--tls")...)
	before := d.ready()
	if !filepath.IsAbs(before.CAFile) || before.CAFile != filepath.Join(dir, "tls", "ca.pem") {
		t.Fatalf("caFile = %q", before.CAFile)
	}
	served(t, before)
	storetest.Eventually(t, "advice", func() bool { return strings.Contains(d.out.String(), "Ctrl-C stops everything") })
	for _, want := range []string{
		"the certificate to trust     " + before.CAFile, "curl -s --cacert '" + before.CAFile + "' 'https://",
		"NODE_EXTRA_CA_CERTS=" + before.CAFile, "OPENAI_BASE_URL=https://",
	} {
		if !strings.Contains(d.out.String(), want) {
			t.Errorf("the advice lacks %q:\n%s", want, d.out.String())
		}
	}
	ca, err := os.ReadFile(before.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := d.exit(); code != command.Done {
		t.Fatalf("exit code %d after Ctrl-C", code)
	}

	again := startDev(t, dir, append(two(), "--tls", "--keep-state")...)
	after := again.ready()
	served(t, after)
	if kept, err := os.ReadFile(after.CAFile); err != nil || string(kept) != string(ca) {
		t.Errorf("the authority changed with --keep-state (%v)", err)
	}
}

// served asks every gateway for an answer by https, and for none by http.
func served(t *testing.T, s *devstack.Stack) {
	t.Helper()
	eu := s.Boundaries["eu"]
	client := trusting(t, s.CAFile)
	for _, g := range eu.Gateways {
		if !strings.HasPrefix(g.URL, "https://127.0.0.1:") {
			t.Errorf("%s: url = %q", g.Name, g.URL)
		}
		if code := post(t, client, g.URL, eu.Clients[0].Key, "chat/completions", `{"model":"gpt-5.4","messages":[]}`); code != http.StatusOK {
			t.Errorf("%s answers %d by https", g.Name, code)
		}
		if code, _ := chat(t, g.URL, eu.Clients[0].Key); code != 0 {
			t.Errorf("%s: a client that does not trust the authority gets %d", g.Name, code)
		}
		if code, _ := chat(t, strings.Replace(g.URL, "https://", "http://", 1), eu.Clients[0].Key); code == http.StatusOK {
			t.Errorf("%s serves by plain http as well", g.Name)
		}
	}
}

func post(t *testing.T, client *http.Client, gateway, key, path, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, gateway+"/openai/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("api-key", key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func TestTheDevelopmentPolicyHasARouteForEveryKindOfModel(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "dev"), append(two(), "--tls")...)
	s := d.ready()
	eu := s.Boundaries["eu"]
	client, gateway, key := trusting(t, s.CAFile), eu.Gateways[0].URL, eu.Clients[0].Key
	for path, body := range map[string]string{
		"chat/completions": `{"model":"gpt-5.4-mini","messages":[{"role":"user","content":"hello"}]}`,
		"completions":      `{"model":"gpt-35-turbo-instruct","prompt":"hello"}`,
		"embeddings":       `{"model":"text-embedding-3-large","input":"hello"}`,
	} {
		if code := post(t, client, gateway, key, path, body); code != http.StatusOK {
			t.Errorf("%s answers %d", path, code)
		}
	}
	c, resp, err := websocket.Dial(t.Context(), gateway+"/openai/v1/realtime?model=gpt-realtime-2", &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Api-Key": {key}},
	})
	if err != nil {
		t.Fatalf("realtime: %v", err)
	}
	defer c.CloseNow()
	if got := resp.Header.Get("x-stampgate-target"); got != "eu-swedencentral-std/gpt-realtime-2" {
		t.Errorf("the session is said to be at %q", got)
	}
	var first struct {
		Type string `json:"type"`
	}
	if err := wsjson.Read(t.Context(), c, &first); err != nil || first.Type != "session.created" {
		t.Errorf("realtime begins with %q, %v", first.Type, err)
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
}
