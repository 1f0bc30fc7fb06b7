package credential

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// await waits for a condition that another goroutine brings about by real I/O.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func start(t *testing.T, set *Set) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = set.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
}

// write replaces a file as a secret store does: in one step.
func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// keyFile names a file that does not exist yet. Its path is short: a policy
// takes long runs of letters and digits for secrets.
func keyFile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sg-") //nolint:usetesting // t.TempDir is too long a name, see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "key")
}

func TestAKeyFileIsReadAgainWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := keyFile(t)
		write(t, file, "key-one\n")
		snap := compile(t, "credential: {apiKeyFile: "+file+"}")
		set := New(Config{})
		set.Advance(snap)
		src := set.For(targetOf(t, snap, "b0"))
		if _, key, err := apply(t, src); err != nil || key != "key-one" {
			t.Fatalf("before Run: %q, %v", key, err)
		}
		start(t, set)
		want := func(key string) {
			t.Helper()
			time.Sleep(5*time.Second + time.Nanosecond)
			synctest.Wait()
			if _, got, err := apply(t, src); err != nil || got != key {
				t.Fatalf("%q, %v, want %s", got, err, key)
			}
		}
		write(t, file, "key-two")
		want("key-two")
		if len(set.Problems()) != 0 {
			t.Errorf("problems: %+v", set.Problems())
		}
		// What cannot be a key is not taken for one; the old key stays in use.
		for _, bad := range []string{"", "\n", "two words", "nul\x00", "k\u00e9y", strings.Repeat("k", maxKey+1)} {
			write(t, file, bad)
			want("key-two")
			if p := set.Problems(); len(p) != 1 || p[0].Unusable || strings.Contains(p[0].Text, "words") {
				t.Errorf("with %.20q: %+v", bad, p)
			}
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		want("key-two")
		write(t, file, " key-three \r\n")
		want("key-three")
		if len(set.Problems()) != 0 {
			t.Errorf("problems: %+v", set.Problems())
		}
		write(t, file, "key-four") // a rejection does not wait for the next look
		time.Sleep(time.Second)
		reject(src)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if _, key, _ := apply(t, src); key != "key-four" {
			t.Errorf("after a rejection: %s", key)
		}
	})
}

func TestAMissingKeyIsAProblemUntilItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := keyFile(t)
		snap := compile(t, "credential: {apiKeyFile: "+file+"}")
		set := New(Config{KeyFilePoll: time.Minute})
		set.Advance(snap)
		start(t, set)
		synctest.Wait()
		src := set.For(targetOf(t, snap, "b0"))
		_, _, err := apply(t, src)
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("error %v", err)
		}
		if p := set.Unusable(); len(p) != 1 || p[0].Backends[0] != "b0" {
			t.Errorf("problems %+v", p)
		}
		write(t, file, "k")
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, key, err := apply(t, src); err != nil || key != "k" || len(set.Unusable()) != 0 {
			t.Errorf("%q, %v, %+v", key, err, set.Unusable())
		}
	})
}

func TestKeysGoWhereTheBackendLooks(t *testing.T) {
	t.Setenv("STAMPGATE_TEST_KEY", "from-env")
	snap := compile(t, "credential: {apiKeyEnv: STAMPGATE_TEST_KEY}",
		"credential: {apiKeyEnv: STAMPGATE_TEST_KEY}\n    kind: openai-compatible\n    country: SE",
		"credential: {apiKeyEnv: STAMPGATE_TEST_MISSING}")
	set := New(Config{})
	set.Advance(snap)
	if bearer, key, err := apply(t, set.For(targetOf(t, snap, "b0"))); err != nil || key != "from-env" || bearer != "" {
		t.Errorf("azure: %q, %q, %v", bearer, key, err)
	}
	if bearer, key, err := apply(t, set.For(targetOf(t, snap, "b1"))); err != nil || bearer != "Bearer from-env" || key != "" {
		t.Errorf("compatible: %q, %q, %v", bearer, key, err)
	}
	if p := set.Unusable(); len(p) != 1 || p[0].Credential != "apiKeyEnv STAMPGATE_TEST_MISSING" {
		t.Errorf("problems: %+v", p)
	}
}

// ownScope is an audience that no other test, nor an earlier run of this one, has
// used: the token cache of azidentity belongs to the process.
func ownScope() string { return fmt.Sprintf("https://x%d.example/.default", time.Now().UnixNano()) }

// identityEndpoint is the identity endpoint of an app platform, which
// azidentity finds through the environment.
type identityEndpoint struct {
	*httptest.Server
	requests atomic.Int32
	fail     atomic.Bool
	mu       sync.Mutex
	last     string
}

func newIdentityEndpoint(t *testing.T) *identityEndpoint {
	e := &identityEndpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := e.requests.Add(1)
		e.mu.Lock()
		e.last = r.URL.RawQuery
		e.mu.Unlock()
		if r.Header.Get("X-IDENTITY-HEADER") != "header-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if e.fail.Load() {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"statusCode":400,"message":"no identity header-secret-header-secret-header-secret"}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"access_token": fmt.Sprint("token-", n), "token_type": "Bearer", "resource": r.URL.Query().Get("resource"),
			"expires_on": strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10),
		})
	}))
	t.Cleanup(e.Close)
	t.Setenv("IDENTITY_ENDPOINT", e.URL+"/token")
	t.Setenv("IDENTITY_HEADER", "header-secret")
	return e
}

func TestManagedIdentityByAzidentity(t *testing.T) {
	e := newIdentityEndpoint(t)
	const id = "33333333-3333-4333-8333-333333333333"
	scope := ownScope()
	snap := compile(t, "credential: {managedIdentity: {clientID: "+id+"}}\n    scope: "+scope)
	set := New(Config{})
	set.Advance(snap)
	start(t, set)
	if err := set.WaitTried(t.Context()); err != nil || len(set.Problems()) != 0 {
		t.Fatalf("%v, %+v", err, set.Problems())
	}
	src := set.For(targetOf(t, snap, "b0"))
	if bearer, _, err := apply(t, src); err != nil || bearer != "Bearer token-1" {
		t.Errorf("%q, %v", bearer, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !strings.Contains(e.last, "client_id="+id) || !strings.Contains(e.last, "resource="+url.QueryEscape(strings.TrimSuffix(scope, "/.default"))) {
		t.Errorf("asked with %s", e.last)
	}
	if n := e.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// A renewal after a rejection passes over azidentity's own cache.
func TestAFreshTokenIsNotFromTheCache(t *testing.T) {
	e := newIdentityEndpoint(t)
	f := &tokenFetcher{
		credential: policy.Credential{ManagedIdentity: &policy.ManagedIdentity{}}, scope: ownScope(),
		newToken: azureToken(false), timeout: 10 * time.Second,
	}
	for i, fresh := range []bool{false, false, true, false} {
		if _, err := f.fetch(t.Context(), fresh); err != nil {
			t.Fatal(err)
		}
		if want := []int32{1, 1, 2, 2}[i]; e.requests.Load() != want {
			t.Errorf("fetch %d: %d requests, want %d", i, e.requests.Load(), want)
		}
	}
}

func TestManagedIdentityThatFails(t *testing.T) {
	e := newIdentityEndpoint(t)
	e.fail.Store(true)
	snap := compile(t, "credential: {managedIdentity: {}}\n    scope: "+ownScope())
	set := New(Config{})
	set.Advance(snap)
	start(t, set)
	if err := set.WaitTried(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := set.Unusable()
	if len(p) != 1 || !strings.Contains(p[0].Text, "400") || strings.Contains(p[0].Text, "header-secret") {
		t.Fatalf("problems: %+v", p)
	}
	e.fail.Store(false)
	await(t, "a token after the endpoint recovered", func() bool { return len(set.Unusable()) == 0 })
}

// What an identity endpoint answers never becomes text of ours: not its body, nor
// its status line or header. The number of the error is enough to act on.
func TestNothingOfAnIdentityEndpointsAnswerIsRepeated(t *testing.T) {
	const canary = "canary7Zq"
	for _, tt := range []struct{ name, answer, want string }{
		{"an error", "HTTP/1.1 400 " + canary + "\r\n" + canary + ": x\r\nContent-Length: 51\r\n\r\n{\"error\":\"" + canary + "\",\"d\":\"AADSTS700016: canary7Zq\"}", "400 (AADSTS700016)"},
		{"an error that is no JSON", "HTTP/1.1 401 x\r\nContent-Length: 9\r\n\r\n" + canary, "401"},
		{"a token that is none", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + canary, "get token"},
		{"no HTTP", canary + " " + canary + "\r\n\r\n", "get token"},
		{"a bad header", "HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", "get token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = http.ReadRequest(bufio.NewReader(c))
					_, _ = io.WriteString(c, tt.answer)
					_ = c.Close()
				}
			}()
			t.Setenv("IDENTITY_ENDPOINT", "http://"+l.Addr().String())
			t.Setenv("IDENTITY_HEADER", "x")
			f := &tokenFetcher{
				credential: policy.Credential{ManagedIdentity: &policy.ManagedIdentity{}}, scope: ownScope(),
				newToken: azureToken(false), timeout: 300 * time.Millisecond,
			}
			_, err = f.fetch(t.Context(), false)
			if err == nil || strings.Contains(err.Error(), canary) {
				t.Fatalf("the fault is %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) && !strings.Contains(err.Error(), "did not answer in time") {
				t.Errorf("the fault is %q, want %q", err, tt.want)
			}
		})
	}
}

// An endpoint that takes the connection and says nothing: the deadline holds.
func TestManagedIdentityThatHangs(t *testing.T) {
	release := make(chan struct{})
	e := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer e.Close()
	defer close(release)
	t.Setenv("IDENTITY_ENDPOINT", e.URL)
	t.Setenv("IDENTITY_HEADER", "x")
	snap := compile(t, "credential: {managedIdentity: {}}\n    scope: "+ownScope())
	set := New(Config{TokenTimeout: 50 * time.Millisecond})
	set.Advance(snap)
	start(t, set)
	if err := set.WaitTried(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := set.Unusable(); len(p) != 1 || !strings.Contains(p[0].Text, "did not answer in time") {
		t.Errorf("problems: %+v", p)
	}
}

// Workload identity against an authority on this machine, over TLS as
// azidentity demands.
func TestWorkloadIdentityByAzidentity(t *testing.T) {
	const tenant, client = "44444444-4444-4444-8444-444444444444", "55555555-5555-4555-8555-555555555555"
	var authority *httptest.Server
	var assertion atomic.Value
	authority = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		base := authority.URL + "/" + tenant
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			_ = json.NewEncoder(w).Encode(map[string]string{
				"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
				"token_endpoint": base + "/oauth2/v2.0/token", "jwks_uri": base + "/keys",
			})
			return
		}
		assertion.Store(r.FormValue("client_assertion") + " " + r.FormValue("client_id"))
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "federated", "token_type": "Bearer", "expires_in": 3600, "refresh_in": 1800})
	}))
	defer authority.Close()
	file := filepath.Join(t.TempDir(), "assertion")
	write(t, file, "the-assertion")
	t.Setenv("AZURE_AUTHORITY_HOST", authority.URL+"/")
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file)
	t.Setenv("AZURE_TENANT_ID", tenant)
	snap := compile(t, "credential: {workloadIdentity: {clientID: "+client+"}}")
	set := New(Config{NewToken: func(c policy.Credential) (azcore.TokenCredential, error) {
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: azcore.ClientOptions{Transport: authority.Client()},
			ClientID:      c.WorkloadIdentity.ClientID, TenantID: c.WorkloadIdentity.TenantID, DisableInstanceDiscovery: true,
		})
	}})
	set.Advance(snap)
	start(t, set)
	if err := set.WaitTried(t.Context()); err != nil || len(set.Problems()) != 0 {
		t.Fatalf("%v, %+v", err, set.Problems())
	}
	if bearer, _, err := apply(t, set.For(targetOf(t, snap, "b0"))); err != nil || bearer != "Bearer federated" {
		t.Errorf("%q, %v", bearer, err)
	}
	if got := assertion.Load(); got != "the-assertion "+client {
		t.Errorf("the authority saw %v", got)
	}
}

func TestWorkloadIdentityWithoutItsEnvironment(t *testing.T) {
	for _, name := range []string{"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"} {
		t.Setenv(name, "")
		os.Unsetenv(name)
	}
	snap := compile(t, "credential: {workloadIdentity: {}}")
	set := New(Config{})
	set.Advance(snap)
	start(t, set)
	if err := set.WaitTried(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := set.Unusable(); len(p) != 1 || !strings.Contains(p[0].Text, "no client ID") {
		t.Errorf("problems: %+v", p)
	}
}
