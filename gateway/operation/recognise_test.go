package operation

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/gateway/refusal"
)

func TestServedOperationsAreRecognised(t *testing.T) {
	tests := []struct {
		method, path, query string
		name                string
		deployment, version string
		upPath, upQuery     string // towards a backend, with deployment d1
	}{
		{
			"POST", "/openai/deployments/gpt-4o/chat/completions", "api-version=2024-10-21",
			"chat_completions", "gpt-4o", "2024-10-21", "/openai/deployments/d1/chat/completions", "api-version=2024-10-21",
		},
		{
			"POST", "/openai/deployments/gpt-4.1_x/completions", "api-version=2025-04-01-preview",
			"completions", "gpt-4.1_x", "2025-04-01-preview", "/openai/deployments/d1/completions", "api-version=2025-04-01-preview",
		},
		{
			"POST", "/openai/deployments/e/embeddings", "api-version=2024-10-21",
			"embeddings", "e", "2024-10-21", "/openai/deployments/d1/embeddings", "api-version=2024-10-21",
		},
		{
			"POST", "/openai/deployments/tts/audio/speech", "api-version=2025-04-01-preview",
			"audio_speech", "tts", "2025-04-01-preview", "/openai/deployments/d1/audio/speech", "api-version=2025-04-01-preview",
		},
		{
			"POST", "/openai/deployments/dalle/images/generations", "api-version=2024-10-21",
			"images_generations", "dalle", "2024-10-21", "/openai/deployments/d1/images/generations", "api-version=2024-10-21",
		},
		{"POST", "/openai/v1/chat/completions", "", "chat_completions", "", "", "/openai/v1/chat/completions", ""},
		{"POST", "/openai/v1/embeddings", "api-version=preview", "embeddings", "", "preview", "/openai/v1/embeddings", "api-version=preview"},
		{"GET", "/openai/v1/models", "", "models", "", "", "/openai/v1/models", ""},
		{"GET", "/openai/models", "api-version=2024-10-21", "models", "", "2024-10-21", "/openai/models", "api-version=2024-10-21"},
		{"GET", "/openai/v1/models/gpt-4o", "", "model", "", "", "/openai/v1/models/gpt-4o", ""},
		// Clients escape what need not be escaped: one reading, so the canonical one is used.
		{
			"POST", "/openai/deployments/gpt%2D4o%3alatest/embeddings", "api-version=2024-10-21",
			"embeddings", "gpt-4o:latest", "2024-10-21", "/openai/deployments/d1/embeddings", "api-version=2024-10-21",
		},
		{
			"GET", "/openai/realtime", "api-version=2025-04-01-preview&deployment=gpt-realtime", "realtime", "gpt-realtime", "2025-04-01-preview",
			"/openai/realtime", "deployment=d1&api-version=2025-04-01-preview",
		},
		{
			"GET", "/openai/v1/realtime", "model=gpt%2Drealtime&intent=a%26b&deployment=x", "realtime", "gpt-realtime", "",
			"/openai/v1/realtime", "intent=a%26b&model=d1",
		},
		// What is not on the list is dropped, credentials above all.
		{
			"GET", "/openai/realtime", "deployment=r&api-key=SECRET&authorization=SECRET&model=x&api-version=2025-04-01-preview", "realtime", "r", "2025-04-01-preview",
			"/openai/realtime", "deployment=d1&api-version=2025-04-01-preview",
		},
		{"GET", "/openai/v1/realtime", "api-key=SECRET&model=r&Authorization=SECRET", "realtime", "r", "", "/openai/v1/realtime", "model=d1"},
		{
			"POST", "/openai/v1/embeddings", "api-key=SECRET&authorization=SECRET&x=1&&API-VERSION=no", "embeddings", "", "",
			"/openai/v1/embeddings", "",
		},
		{
			"POST", "/openai/v1/embeddings", "api%2Dversion=v1", "embeddings", "", "v1",
			"/openai/v1/embeddings", "api-version=v1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path+"?"+tt.query, func(t *testing.T) {
			m, err := Recognise(tt.method, tt.path, tt.query)
			if err != nil {
				t.Fatal(err)
			}
			if m.Operation.Name != tt.name || m.Deployment != tt.deployment || m.APIVersion != tt.version {
				t.Errorf("got %s, deployment %q, version %q", m.Operation.Name, m.Deployment, m.APIVersion)
			}
			path, query := UpstreamPath(m, "d1")
			if path != tt.upPath || query != tt.upQuery {
				t.Errorf("towards the backend: %s?%s, want %s?%s", path, query, tt.upPath, tt.upQuery)
			}
		})
	}
}

// Rows 14 and 15 of the table of hostile input: no second spelling of a path or
// query may reach a backend or another decision.
func TestHostileSpellingsAreRefused(t *testing.T) {
	long := strings.Repeat("a", maxName+1)
	tests := []struct {
		path, query string
		status      int
	}{
		{"", "", 400},
		{"*", "", 400},
		{"openai/v1/chat/completions", "", 400},
		{"http://evil.example/openai/v1/chat/completions", "", 400},
		{"//openai/v1/chat/completions", "", 400},
		{"/openai//v1/chat/completions", "", 400},
		{"/openai/v1/chat/completions//", "", 400},
		{"/openai/./v1/chat/completions", "", 400},
		{"/openai/v1/../v1/chat/completions", "", 400},
		{"/openai/v1/chat/completions/..", "", 400},
		{"/openai/v1/%2e%2e/v1/chat/completions", "", 400},
		{"/openai/v1/%2E/chat/completions", "", 400},
		{"/openai/v1%2fchat/completions", "", 400},
		{"/openai/v1%2Fchat/completions", "", 400},
		{"/openai/v1%5cchat/completions", "", 400},
		{"/openai/v1\\chat/completions", "", 400},
		{"/openai/v1/chat%252fcompletions", "", 400},
		{"/openai/v1/chat/completions%00", "", 400},
		{"/openai/v1/chat/completions%", "", 400},
		{"/openai/v1/chat/completions%2", "", 400},
		{"/openai/v1/chat/completions%zz", "", 400},
		{"/openai/v1/chat/completions;x=1", "", 400},
		{"/openai/v1/chat/completions%3bx", "", 400},
		{"/openai/v1/chat/completions?x", "", 400},
		{"/openai/v1/chat/completions#x", "", 400},
		{"/openai/v1/chat/completions\n", "", 400},
		{"/openai/v1/chat/c\u00f6mpletions", "", 400},
		{"/openai/v1/chat/" + strings.Repeat("a", maxPath), "", 400},
		{"/openai/deployments/a%2fb/embeddings", "api-version=2024-10-21", 400},
		{"/openai/deployments/%2e%2e/embeddings", "api-version=2024-10-21", 400},

		// Well-formed, but another path: no case is folded, no slash is added.
		{"/openai/v1/chat/completions/", "", 404},
		{"/OpenAI/v1/chat/completions", "", 404},
		{"/openai/V1/chat/completions", "", 404},
		{"/openai/v1/Chat/completions", "", 404},
		{"/openai/v1/%63hat/completions", "", 404},
		{"/v1/chat/completions", "", 404},
		{"/openai", "", 404},
		{"/openai/", "", 404},
		{"/openai/v1", "", 404},
		{"/openai/v1/", "", 404},
		{"/openai/v2/chat/completions", "", 404},
		{"/openai/chat/completions", "api-version=2024-10-21", 404},
		{"/openai/deployments//embeddings", "api-version=2024-10-21", 400},
		{"/openai/deployments/a/b/embeddings", "api-version=2024-10-21", 404},
		{"/openai/deployments/" + long + "/embeddings", "api-version=2024-10-21", 404},
		{"/admin", "", 404},

		// The dated API needs exactly one api-version.
		{"/openai/deployments/a/embeddings", "", 400},
		{"/openai/deployments/a/embeddings", "api-version=", 400},
		{"/openai/deployments/a/embeddings", "api-version", 400},
		{"/openai/deployments/a/embeddings", "API-Version=2024-10-21", 400},
		{"/openai/deployments/a/embeddings", "api-version=2024-10-21&api-version=2024-10-21", 400},
		{"/openai/deployments/a/embeddings", "api-version=2024-10-21&api%2dversion=2024-06-01", 400},
		{"/openai/deployments/a/embeddings", "api-version=2024-10-21%26x", 400},
		{"/openai/deployments/a/embeddings", "api-version=2024-10-21/../x", 400},
		{"/openai/deployments/a/embeddings", "api-version=" + strings.Repeat("1", 33), 400},
		{"/openai/v1/embeddings", "x=1;api-version=v1", 400},
		{"/openai/v1/embeddings", "x=1&x=2", 400},
		{"/openai/v1/embeddings", "x=%zz", 400},
		{"/openai/v1/embeddings", strings.Repeat("&", 32), 400},
		{"/openai/v1/embeddings", manyParams(33), 400},
		{"/openai/v1/embeddings", "x=" + strings.Repeat("a", maxQuery), 400},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.80q?%.80q", tt.path, tt.query), func(t *testing.T) {
			_, err := Recognise("POST", tt.path, tt.query)
			wantStatus(t, err, tt.status)
		})
	}
	if _, err := Recognise("POST", "/openai/v1/embeddings", manyParams(32)); err != nil {
		t.Errorf("32 parameters are allowed: %v", err)
	}
}

// A session's deployment is in the query, where it needs one reading as well.
func TestHostileSessionsAreRefused(t *testing.T) {
	const version = "api-version=2025-04-01-preview"
	for _, tt := range []struct {
		method, path, query string
		status              int
	}{
		{"GET", "/openai/realtime", "deployment=r", 400},
		{"GET", "/openai/realtime", version + "&deployment=a&deployment=a", 400},
		{"GET", "/openai/realtime", version + "&deployment=a&deploy%6dent=b", 400},
		{"GET", "/openai/realtime", version + "&deployment=", 400},
		{"GET", "/openai/realtime", version + "&deployment=a%2fb", 400},
		{"GET", "/openai/realtime", version + "&deployment=a%26model%3db", 400},
		{"GET", "/openai/realtime", version + "&deployment=a+b", 400},
		{"GET", "/openai/realtime", version + "&deployment=a%00", 400},
		{"GET", "/openai/realtime", version + "&deployment=" + strings.Repeat("a", maxName+1), 400},
		{"GET", "/openai/realtime", version + "&deployment=a;model=b", 400},
		{"GET", "/openai/v1/realtime", "model=a&model=b", 400},
		{"GET", "/openai/v1/realtime", "model=a&intent=b&intent=c", 400},
		{"GET", "/openai/v1/realtime", "model=a&api-key=b&api-key=c", 400},
		{"POST", "/openai/v1/realtime", "model=a", 404},
		{"CONNECT", "/openai/v1/realtime", "model=a", 404},
		{"GET", "/openai/v1/realtime/", "model=a", 404},
	} {
		t.Run(fmt.Sprintf("%s %s?%.80q", tt.method, tt.path, tt.query), func(t *testing.T) {
			_, err := Recognise(tt.method, tt.path, tt.query)
			wantStatus(t, err, tt.status)
		})
	}
}

func TestRouteOfASession(t *testing.T) {
	for path, param := range map[string]string{"/openai/realtime": "deployment", "/openai/v1/realtime": "model"} {
		for query, want := range map[string]string{param + "=r": "r", "": ""} {
			m, err := Recognise("GET", path, "api-version=2025-04-01-preview&"+query)
			if err != nil || !m.Operation.WebSocket || m.Operation.Stateless {
				t.Fatalf("%s: %+v, %v", path, m.Operation, err)
			}
			got, err := Route(m, nil)
			if e, ok := errors.AsType[*refusal.Error](err); got != want || (want == "") != ok || ok && (e.Reply().Status != 400 || e.Param != param) {
				t.Errorf("%s?%s: route %q, %v", path, query, got, err)
			}
		}
	}
}

func manyParams(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf("p%d=1", i))
	}
	return strings.Join(parts, "&")
}

func wantStatus(t *testing.T, err error, status int) {
	t.Helper()
	e, ok := errors.AsType[*refusal.Error](err)
	if !ok {
		t.Fatalf("error %v, want a refusal with status %d", err, status)
	}
	code := map[int]string{400: "invalid_request", 404: "operation_not_found"}[status]
	if e.Reply().Status != status || e.Reply().Code != code {
		t.Fatalf("got %d %s (%s), want %d %s", e.Reply().Status, e.Reply().Code, e.Message, status, code)
	}
}

func TestOtherMethodsAreNotFound(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "post", "", "POST "} {
		_, err := Recognise(method, "/openai/v1/embeddings", "")
		wantStatus(t, err, 404)
	}
}

func TestKnownButNotServedNamesTheOperation(t *testing.T) {
	m, err := Recognise("POST", "/openai/v1/responses", "")
	wantStatus(t, err, 404)
	if m.Operation == nil || m.Operation.Name != "responses" || m.Operation.Served {
		t.Errorf("got %+v", m.Operation)
	}
	m, err = Recognise("POST", "/openai/v1/unheard-of", "")
	wantStatus(t, err, 404)
	if m.Operation != nil {
		t.Errorf("an unknown path matched %s", m.Operation.Name)
	}
}

// Every operation that Azure documents is either served or known by name.
func TestEveryAzureOperationHasARow(t *testing.T) {
	const file = "../../../shared/data/azure-openai-operations.csv"
	f, err := os.Open(file)
	if err != nil {
		t.Skipf("the list of Azure's operations is not here: %v", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, r := range rows[1:] {
		base, method, path := r[1], r[2], r[3]
		// GET /deployments was added by whoever exported that file.
		if base != "/openai" && base != "/openai/v1" || path == "/deployments" {
			continue
		}
		for strings.Contains(path, "{") {
			before, rest, _ := strings.Cut(path, "{")
			_, after, _ := strings.Cut(rest, "}")
			path = before + "x1" + after
		}
		m, err := Recognise(method, base+path, "api-version=2025-04-01-preview")
		if m.Operation == nil {
			t.Errorf("%s %s%s: %v", method, base, path, err)
		}
		seen++
	}
	if seen < 100 {
		t.Errorf("only %d operations in the list", seen)
	}
}

// Names are labels of metrics: those that are served are a closed list.
func TestNamesOfWhatIsServed(t *testing.T) {
	var names []string
	for _, op := range theIndex().rows {
		if op.Served && !slices.Contains(names, op.Name) {
			names = append(names, op.Name)
		}
	}
	want := "chat_completions completions embeddings audio_speech images_generations models model realtime"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Whatever is recognised is rebuilt to a path with one spelling, which is
// recognised as the same operation.
func TestUpstreamPathIsAFixedPoint(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		op := rapid.SampledFrom(theIndex().rows).Draw(rt, "operation")
		if !op.Served {
			return
		}
		name := rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._:@+~=-]{0,40}`).Draw(rt, "name")
		path, query := UpstreamPath(Match{Operation: &op, APIVersion: "2024-10-21", names: [maxNames]string{name}}, name)
		m, err := Recognise(op.Method, path, query)
		if err != nil {
			rt.Fatalf("%s: %v", path, err)
		}
		if got, q := UpstreamPath(m, name); got != path || q != query || m.Operation.Name != op.Name {
			rt.Fatalf("%s became %s", path, got)
		}
	})
}

func FuzzRecognise(f *testing.F) {
	f.Add("POST", "/openai/deployments/gpt-4o/chat/completions", "api-version=2024-10-21")
	f.Add("POST", "/openai/v1/%2e%2e/x", "a=1;b=2")
	f.Add("GET", "/openai/v1/models/a%2Db", "api-key=1&authorization=2")
	f.Add("GET", "/openai/realtime", "api-version=2025-04-01-preview&deployment=r&api-key=1")
	f.Add("GET", "/openai/v1/realtime", "model=a%26b&intent=x")
	f.Fuzz(func(t *testing.T, method, path, query string) {
		m, err := Recognise(method, path, query)
		if err != nil {
			if e, ok := errors.AsType[*refusal.Error](err); !ok || e.Reply().Status != 400 && e.Reply().Status != 404 {
				t.Fatalf("error %v", err)
			}
			return
		}
		up, upQuery := UpstreamPath(m, "d")
		if strings.ContainsAny(up, "%\\;?# ") || strings.Contains(up, "..") && !strings.Contains(m.ID, "..") ||
			strings.Contains(up, "//") || !strings.HasPrefix(up, "/openai/") {
			t.Fatalf("%q leads to %q", path, up)
		}
		if m.Operation.WebSocket {
			again, err := Recognise(method, up, upQuery)
			if err != nil || again.Deployment != "d" || again.APIVersion != m.APIVersion || again.query != m.query {
				t.Fatalf("%q leads to %q, which is read as %+v, %v", query, upQuery, again, err)
			}
			return
		}
		if upQuery != "" && upQuery != "api-version="+m.APIVersion {
			t.Fatalf("%q leads to %q", query, upQuery)
		}
	})
}

func BenchmarkRecognise(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Recognise("POST", "/openai/deployments/gpt-4o/chat/completions", "api-version=2024-10-21"); err != nil {
			b.Fatal(err)
		}
	}
}
