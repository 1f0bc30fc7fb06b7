package serve_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// discard is a client that takes everything.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) Flush()                      {}

// BenchmarkServe is one call over a kept connection to a backend on a real
// socket, the backend's work included.
func BenchmarkServe(b *testing.B) {
	for _, bb := range []struct{ name, ask, contentType, answer string }{
		{"plain", plainBody, "application/json", `{"choices":[{"message":{"content":"Hi"}}],"model":"gpt-4o-1"}`},
		{"stream", chatBody, "text/event-stream", prelude + event + event + event + done},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header()["Content-Type"] = []string{bb.contentType}
				_, _ = io.Copy(w, bytes.NewReader([]byte(bb.answer)))
			}))
			defer s.Close()
			r := newRig(b, setup{endpoints: []string{s.URL}})
			call := r.call(b.Context(), http.Header{}, bb.ask)
			b.ReportAllocs()
			for b.Loop() {
				if res := r.serve(discard{http.Header{}}, call); res.Refusal != nil || res.Aborted {
					b.Fatalf("%+v", res)
				}
			}
		})
	}
}
