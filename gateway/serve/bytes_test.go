package serve_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/gateway/body"
	"github.com/stampgate/stampgate/gateway/serve"
)

// The two ways to address each operation.
var surfaces = map[string][2]string{
	"chat":        {"/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", "/openai/v1/chat/completions"},
	"embeddings":  {"/openai/deployments/gpt-4o/embeddings?api-version=2024-10-21", "/openai/v1/embeddings"},
	"completions": {"/openai/deployments/gpt-4o/completions?api-version=2024-10-21", "/openai/v1/completions"},
}

// corpus is bodies as clients send them, by name.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/bodies/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bodies: %v", err)
	}
	all := map[string][]byte{}
	for _, name := range files {
		if all[filepath.Base(name)], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	message := `{"role":"user","content":"` + strings.Repeat(`a line\nå é \u00e9 `, 100) + `"},`
	messages := `"messages":[` + strings.TrimSuffix(strings.Repeat(message, 2*body.CopiedUpTo/len(message)), ",") + `]`
	all["large, model first"] = []byte(`{"model":"gpt-4o",` + messages + `}`)
	all["large, model last"] = []byte(`{` + messages + `, "model" : "gpt-4o" }`)
	return all
}

// edited is what a body becomes whose model is replaced, found by another parser
// than the gateway's; false: it has no model of its own that is gpt-4o.
func edited(text []byte, deployment string) ([]byte, bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, false
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return nil, false
		}
		var model string
		if name == "model" && json.Unmarshal(value, &model) == nil {
			end := int(d.InputOffset())
			return bytes.Join([][]byte{text[:end-len(value)], text[end:]}, []byte(`"`+deployment+`"`)), model == "gpt-4o"
		}
	}
	return nil, false
}

// A wire sends bodies through the pipeline and tells what reached the backend.
type wire struct {
	*whole

	backend *backend
}

func newWire(t testing.TB) wire {
	w, b := inMemory(t, wellAnswered, wholeSetup{change: func(c *serve.Config) { c.Log = zerolog.Nop() }})
	return wire{w, b}
}

// send posts a body as it is, and returns what reached the backend; nil: nothing.
func (w wire) send(t testing.TB, path string, text []byte, announced bool) (arrived []byte, status int) {
	t.Helper()
	r := w.request(http.MethodPost, path, "")
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), -1
	if announced {
		r.ContentLength = int64(len(text))
	}
	before := w.backend.requests.Load()
	got := w.do(r)
	if w.backend.requests.Load() == before {
		return nil, got.StatusCode
	}
	asked, body := w.backend.seen()
	if asked.ContentLength != int64(len(body)) || asked.Header.Get("Content-Encoding") != "" {
		t.Errorf("the backend was announced %d bytes of %d: %v", asked.ContentLength, len(body), asked.Header)
	}
	return []byte(body), got.StatusCode
}

// check sends a body by both surfaces of an operation. What is served is byte for
// byte what the client sent, but for the value of model where that names the route:
// a provider's prompt cache knows a prompt by its bytes.
func (w wire) check(t testing.TB, operation string, text []byte, announced bool) (served [2]bool) {
	t.Helper()
	arrived, status := w.send(t, surfaces[operation][0], text, announced)
	if served[0] = status == http.StatusOK; served[0] != (arrived != nil) || served[0] && !bytes.Equal(arrived, text) {
		t.Errorf("status %d; the backend got\n%q\nof\n%q", status, short(arrived), short(text))
	}
	want, ok := edited(text, "dep-0")
	arrived, status = w.send(t, surfaces[operation][1], text, announced)
	served[1] = status == http.StatusOK
	if served[1] != (arrived != nil) || served[1] && (!ok || !bytes.Equal(arrived, want)) {
		t.Errorf("status %d; the backend got\n%q\nof\n%q\nwant\n%q", status, short(arrived), short(text), short(want))
	}
	return served
}

func short(p []byte) []byte { return p[:min(len(p), 2000)] }

func TestBytesReachTheBackend(t *testing.T) {
	w := newWire(t)
	for name, text := range corpus(t) {
		for operation := range surfaces {
			for _, announced := range [...]bool{true, false} {
				_, hasModel := edited(text, "")
				if served := w.check(t, operation, text, announced); !served[0] || served[1] != hasModel {
					t.Errorf("%s as %s: served with a date %v, without %v", name, operation, served[0], served[1])
				}
			}
		}
	}
}

func FuzzBytesReachTheBackend(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add(text, true)
		f.Add(text, false)
	}
	w := newWire(f)
	f.Fuzz(func(t *testing.T, text []byte, announced bool) {
		for operation := range surfaces {
			w.check(t, operation, text, announced)
		}
	})
}
