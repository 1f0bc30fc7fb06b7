package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azpolicy "github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// compile makes a policy with one backend for each credential, written in YAML.
func compile(t testing.TB, credentials ...string) *policy.Snapshot {
	t.Helper()
	var b strings.Builder
	b.WriteString("boundary: eu\nresidency: {countries: [SE]}\nstamps: [{region: swedencentral}]\nbackends:\n")
	for i, c := range credentials {
		sku := ", sku: Standard"
		if strings.Contains(c, "openai-compatible") {
			sku = ""
		}
		fmt.Fprintf(&b, `
  - name: b%d
    region: swedencentral
    endpoint: https://b%d.openai.azure.com
    %s
    deployments: [{name: gpt-4o, model: gpt-4o, version: "2024-11-20"%s}]
`, i, i, c, sku)
	}
	b.WriteString("routes: [{name: gpt-4o, model: gpt-4o, version: \"2024-11-20\"}]\nclients: []\n")
	doc, err := policy.Decode([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	s, err := policy.Compile(doc, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func targetOf(t testing.TB, s *policy.Snapshot, backend string) *policy.Target {
	t.Helper()
	for target := range s.Targets() {
		if target.Backend == backend {
			return target
		}
	}
	t.Fatalf("no target of %s", backend)
	return nil
}

// apply returns what a request to the backend would carry.
func apply(t testing.TB, src Source) (authorization, key string, err error) {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer of-the-client"}, "Api-Key": {"of-the-client"}, "X": {"y"}}
	generation, err := src.Apply(h)
	if (generation == 0) != (err != nil) {
		t.Fatalf("generation %d, %v", generation, err)
	}
	if h.Get("X") != "y" || len(h["Authorization"])+len(h["Api-Key"]) > 1 || strings.Contains(fmt.Sprint(h), "of-the-client") {
		t.Fatalf("header after Apply: %v", h)
	}
	if err != nil && (h.Get("Authorization") != "" || h.Get("Api-Key") != "") {
		t.Fatalf("a credential in spite of %v: %v", err, h)
	}
	return h.Get("Authorization"), h.Get("Api-Key"), err
}

// issuer is an identity that gives what the test says, and counts.
type issuer struct {
	mu    sync.Mutex
	next  func(n int) (azcore.AccessToken, error)
	hangs bool // until its context ends
	calls []time.Time
	fresh int // calls that passed over the cache
}

func (i *issuer) GetToken(ctx context.Context, o azpolicy.TokenRequestOptions) (azcore.AccessToken, error) {
	i.mu.Lock()
	i.calls = append(i.calls, time.Now())
	n, hangs := len(i.calls), i.hangs
	if o.Claims != "" {
		i.fresh++
	}
	i.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return azcore.AccessToken{}, ctx.Err()
	}
	return i.next(n)
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.calls)
}

func (i *issuer) hang(yes bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hangs = yes
}

// gaps returns the times between calls.
func (i *issuer) gaps() []time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	var gaps []time.Duration
	for n := 1; n < len(i.calls); n++ {
		gaps = append(gaps, i.calls[n].Sub(i.calls[n-1]))
	}
	return gaps
}

// hourly gives tokens t1, t2, … of one hour, renewable at half time.
func hourly(n int) (azcore.AccessToken, error) {
	now := time.Now()
	return azcore.AccessToken{Token: fmt.Sprintf("t%d", n), ExpiresOn: now.Add(time.Hour), RefreshOn: now.Add(30 * time.Minute)}, nil
}

const identityYAML = "credential: {managedIdentity: {}}"

// running starts a Set for one identity inside a bubble.
func running(t *testing.T, i *issuer, log zerolog.Logger) (*Set, Source) {
	t.Helper()
	set := New(Config{Log: log, NewToken: func(policy.Credential) (azcore.TokenCredential, error) { return i, nil }})
	snap := compile(t, identityYAML)
	set.Advance(snap)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := set.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	synctest.Wait()
	return set, set.For(targetOf(t, snap, "b0"))
}

func wantToken(t *testing.T, src Source, want string) {
	t.Helper()
	got, _, err := apply(t, src)
	if err != nil || got != "Bearer "+want {
		t.Fatalf("at %v: %q, %v, want %s", time.Now(), got, err, want)
	}
}

func TestTokensAreRenewedWhenTheirIssuerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{next: hourly}
		_, src := running(t, i, zerolog.Nop())
		wantToken(t, src, "t1")
		time.Sleep(30*time.Minute - time.Nanosecond)
		synctest.Wait()
		wantToken(t, src, "t1")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantToken(t, src, "t2")
	})
}

func TestTokensAreRenewedFiveMinutesBeforeTheyExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{next: func(n int) (azcore.AccessToken, error) {
			return azcore.AccessToken{Token: fmt.Sprint("t", n), ExpiresOn: time.Now().Add(time.Hour)}, nil
		}}
		_, src := running(t, i, zerolog.Nop())
		time.Sleep(55*time.Minute - time.Nanosecond)
		synctest.Wait()
		wantToken(t, src, "t1")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantToken(t, src, "t2")
	})
}

// An issuer that gives short tokens, or says to renew at once, is asked every
// 30 seconds and not more.
func TestTokensAreAskedForAtMostEvery30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{next: func(int) (azcore.AccessToken, error) {
			return azcore.AccessToken{Token: "t", ExpiresOn: time.Now().Add(time.Minute), RefreshOn: time.Now().Add(-time.Hour)}, nil
		}}
		_, src := running(t, i, zerolog.Nop())
		for range 600 {
			reject(src)
			time.Sleep(time.Second)
		}
		if n := i.count(); n < 20 || n > 21 {
			t.Errorf("asked %d times in 10 minutes", n)
		}
		for _, gap := range i.gaps() {
			if gap < minRenewal {
				t.Errorf("asked after %v", gap)
			}
		}
	})
}

func TestAFailedRenewalKeepsTheOldTokenUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{next: func(n int) (azcore.AccessToken, error) {
			if n > 1 && n < 200 {
				return azcore.AccessToken{}, errors.New("identity endpoint: 500")
			}
			return hourly(n)
		}}
		set, src := running(t, i, zerolog.Nop())
		time.Sleep(time.Hour - time.Nanosecond)
		synctest.Wait()
		wantToken(t, src, "t1")
		if len(set.Unusable()) != 0 {
			t.Errorf("the old token is good, but: %+v", set.Unusable())
		}
		if p := set.Problems(); len(p) != 1 || p[0].Unusable || !strings.Contains(p[0].Text, "identity endpoint") || p[0].Backends[0] != "b0" {
			t.Errorf("problems: %+v", p)
		}
		if n := i.count(); n != 1+60 { // from half time, one each 30 seconds
			t.Errorf("asked %d times", n)
		}
		time.Sleep(time.Nanosecond)
		if _, _, err := apply(t, src); err == nil {
			t.Error("an expired token is used")
		} else if u, ok := errors.AsType[*UnusableError](err); !ok || u.Credential != "managedIdentity" {
			t.Errorf("error %v", err)
		}
		if p := set.Unusable(); len(p) != 1 || !p[0].Unusable {
			t.Errorf("problems: %+v", p)
		}
		time.Sleep(2 * time.Hour) // it works again
		synctest.Wait()
		if _, _, err := apply(t, src); err != nil || len(set.Problems()) != 0 {
			t.Errorf("after recovery: %v, %+v", err, set.Problems())
		}
	})
}

// With nothing to send there is some hurry: 1, 2, 4 … 30 seconds.
func TestAColdStartIsRetriedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{next: func(n int) (azcore.AccessToken, error) {
			if n < 8 {
				return azcore.AccessToken{}, errors.New("not yet")
			}
			return hourly(n)
		}}
		set, src := running(t, i, zerolog.Nop())
		if err := set.WaitTried(t.Context()); err != nil || len(set.Unusable()) != 1 {
			t.Errorf("after the first attempt: %v, %+v", err, set.Unusable())
		}
		time.Sleep(91 * time.Second)
		synctest.Wait()
		wantToken(t, src, "t8")
		if got := fmt.Sprint(i.gaps()); got != "[1s 2s 4s 8s 16s 30s 30s]" {
			t.Errorf("gaps %s", got)
		}
	})
}

// A dead endpoint that swallows requests: every attempt has its own deadline,
// nothing waits for it, and stopping does not either.
func TestADeadEndpointBlocksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{next: hourly, hangs: true}
		set, src := running(t, i, zerolog.Nop())
		started := time.Now()
		if _, _, err := apply(t, src); err == nil {
			t.Error("a token from nowhere")
		}
		if time.Since(started) != 0 {
			t.Error("Apply waits")
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if p := set.Unusable(); len(p) != 1 || !strings.Contains(p[0].Text, "did not answer in time") {
			t.Errorf("problems: %+v", p)
		}
		i.hang(false)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if len(set.Problems()) != 0 {
			t.Errorf("after it came back: %+v", set.Problems())
		}
		i.hang(true)
		time.Sleep(30*time.Minute + time.Second)
		synctest.Wait() // in a call now; the clean-up must end all the same
	})
}

// reject is what Set.Rejected does with the source of its target.
func reject(src Source) {
	if src, ok := src.(*source); ok {
		src.reject(time.Now())
	}
}

func TestARejectionRenewsAndAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{next: hourly}
		set, src := running(t, i, zerolog.Nop())
		time.Sleep(10 * time.Second)
		reject(src)
		synctest.Wait()
		wantToken(t, src, "t1") // 10 seconds old: not yet
		if p := set.Problems(); len(p) != 1 || p[0].Unusable || len(set.Unusable()) != 0 {
			t.Errorf("problems: %+v", p)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		wantToken(t, src, "t2")
		if i.fresh != 1 {
			t.Errorf("%d of the calls passed over the cache", i.fresh)
		}
		time.Sleep(rejectionLasts)
		if p := set.Problems(); p != nil {
			t.Errorf("long after: %+v", p)
		}
	})
}

func TestBadTokensAreRefused(t *testing.T) {
	for _, token := range []azcore.AccessToken{
		{}, {Token: "t"}, {ExpiresOn: time.Now().Add(100 * 365 * 24 * time.Hour)}, {Token: "t", ExpiresOn: time.Unix(1, 0)},
	} {
		synctest.Test(t, func(t *testing.T) {
			i := &issuer{next: func(int) (azcore.AccessToken, error) { return token, nil }}
			set, src := running(t, i, zerolog.Nop())
			if _, _, err := apply(t, src); err == nil || len(set.Unusable()) != 1 {
				t.Errorf("%+v is used", token)
			}
		})
	}
}

// One source for each distinct credential and scope; it survives a new policy
// that still needs it, and ends with one that does not.
func TestAdvanceSharesKeepsAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made := make(map[string]*issuer)
		var mu sync.Mutex
		set := New(Config{NewToken: func(c policy.Credential) (azcore.TokenCredential, error) {
			mu.Lock()
			defer mu.Unlock()
			i := &issuer{next: hourly}
			made[fmt.Sprint(len(made), " ", c.ManagedIdentity.ClientID)] = i
			return i, nil
		}})
		const one, two = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
		user := func(id string) string { return "credential: {managedIdentity: {clientID: " + id + "}}" }
		first := compile(t, identityYAML, identityYAML, user(one), user(one)+"\n    scope: https://ai.azure.com/.default")
		set.Advance(first)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = set.Run(ctx) })
		defer func() { stop(); wg.Wait() }()
		synctest.Wait()
		if len(made) != 3 {
			t.Fatalf("made %d credentials for 3 distinct ones", len(made))
		}
		shared := set.For(targetOf(t, first, "b0"))
		if shared != set.For(targetOf(t, first, "b1")) || shared == set.For(targetOf(t, first, "b2")) ||
			set.For(targetOf(t, first, "b2")) == set.For(targetOf(t, first, "b3")) {
			t.Fatal("sources are shared wrongly")
		}
		dropped := set.For(targetOf(t, first, "b2"))

		second := compile(t, identityYAML, user(two))
		set.Advance(second)
		synctest.Wait()
		if set.For(targetOf(t, second, "b0")) != shared {
			t.Error("a source that is still needed was replaced")
		}
		if len(made) != 4 {
			t.Errorf("made %d credentials", len(made))
		}
		if _, _, err := apply(t, dropped); err != nil {
			t.Errorf("a request that had begun: %v", err)
		}
		if _, _, err := apply(t, set.For(targetOf(t, first, "b2"))); err == nil {
			t.Error("a target that the policy no longer has gets a credential")
		}
		time.Sleep(45 * time.Minute)
		synctest.Wait()
		for name, i := range made {
			want := 2
			if strings.HasSuffix(name, one) {
				want = 1 // stopped
			}
			if i.count() != want {
				t.Errorf("%s was asked %d times, want %d", name, i.count(), want)
			}
		}
		if p := set.Problems(); p != nil {
			t.Errorf("problems: %+v", p)
		}
	})
}

// The token must appear in no log line, error, problem or printed source, and an
// identity endpoint that answers with it in an error changes nothing.
func TestSecretsStayHidden(t *testing.T) {
	const canary = "eyJhbGciOiJSUzI1NiJ9.eyJjYW5hcnkiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeS1jYW5hcnk"
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		i := &issuer{next: func(n int) (azcore.AccessToken, error) {
			if n == 2 {
				return azcore.AccessToken{}, fmt.Errorf("unexpected answer:\n{\"access_token\":\"%s\"} from http://169.254.169.254/token?x=%s", canary, canary)
			}
			return azcore.AccessToken{Token: canary, ExpiresOn: time.Now().Add(time.Hour)}, nil
		}}
		var log bytes.Buffer
		set, src := running(t, i, zerolog.New(&log))
		time.Sleep(55*time.Minute + time.Second)
		synctest.Wait()
		fmt.Fprintf(&out, "%v %+v %#v %v %+v", src, src, src, set, set.Problems())
		fmt.Fprintf(&out, "%v %+v %#v", src.(*source).current.Load(), src.(*source).current.Load(), src.(*source).current.Load())
		encoded, _ := json.Marshal([]any{src, set.Problems(), src.(*source).current.Load()})
		out.Write(encoded)
		l := zerolog.New(&out)
		l.Info().Interface("source", src).Interface("grant", src.(*source).current.Load()).Interface("problems", set.Problems()).Msg("x")
		time.Sleep(10 * time.Minute)
		_, _, err := apply(t, set.For(&policy.Target{Kind: policy.AzureOpenAI}))
		fmt.Fprintf(&out, "%v %+v %#v", err, err, err)
		synctest.Wait()
		text := out.String() + log.String()
		if !strings.Contains(text, "the identity endpoint gave none") || strings.Contains(text, "unexpected answer") {
			t.Fatalf("the fault is not in the output, or in words of the endpoint: %s", text)
		}
		for part := range strings.SplitSeq(canary, ".") {
			if strings.Contains(text, part) {
				t.Errorf("%s in %s", part, text)
			}
		}
	})
}

// Whoever was refused can tell a renewed credential from the same one, also when
// a policy has dropped its source and taken it up again.
func TestGenerationGrowsWithEachRenewal(t *testing.T) {
	file := keyFile(t)
	snap := compile(t, "credential: {apiKeyFile: "+file+"}")
	write(t, file, "key-one")
	set := New(Config{})
	generation := func() uint64 {
		t.Helper()
		n, err := set.For(targetOf(t, snap, "b0")).Apply(http.Header{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	set.Advance(snap)
	last := generation()
	if last == 0 || generation() != last {
		t.Errorf("two requests with one credential carry generations %d and %d", last, generation())
	}
	src := set.For(targetOf(t, snap, "b0")).(*source)
	if _, err := src.renew(t.Context(), false); err != nil || generation() <= last {
		t.Errorf("after a renewal: generation %d, was %d; %v", generation(), last, err)
	}
	last = generation()
	set.prepare(nil, nil)()
	set.Advance(snap)
	if generation() <= last {
		t.Errorf("after the source was made anew: generation %d, was %d", generation(), last)
	}
}

func BenchmarkApply(b *testing.B) {
	b.Setenv("STAMPGATE_TEST_KEY", "k1")
	snap := compile(b, "credential: {apiKeyEnv: STAMPGATE_TEST_KEY}")
	set := New(Config{})
	set.Advance(snap)
	target := targetOf(b, snap, "b0")
	h := make(http.Header)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.For(target).Apply(h); err != nil {
			b.Fatal(err)
		}
	}
}
