package serve_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/serve"
)

// A large body waits in a file: it holds next to no memory, is sent again from there
// where the first target fails, and arrives byte for byte.
func TestALargeBodyWaitsInAFile(t *testing.T) {
	body := `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 3<<20) + `"}],"model":"gpt-4o"}`
	for name, path := range map[string]string{"as it is": chatPath, "with another model": "/openai/v1/chat/completions"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var w *whole
			var held atomic.Int64
			failing := newBackend(t, func(_ int, c net.Conn) bool {
				held.Store(w.budget.Held())
				_, _ = io.WriteString(c, answer("500 Internal Server Error", jsonHeader, "{}"))
				return false
			})
			sound := good(t)
			w = newWhole(t, wholeSetup{real: []string{failing.url, sound.url}, change: func(c *serve.Config) {
				c.Spool = serve.Spool{Dir: dir, Above: 1 << 20, Budget: bytebudget.New(16<<20, 8<<20)}
			}})
			for _, chunked := range []bool{false, true} {
				resp := w.send(path, body, chunked)
				_, got := sound.seen()
				want := strings.Replace(body, `"gpt-4o"`, `"dep-1"`, 1)
				if path == chatPath {
					want = body
				}
				if resp.StatusCode != http.StatusOK || got != want {
					t.Errorf("chunked %t: %d, %d bytes of %d arrived", chunked, resp.StatusCode, len(got), len(want))
				}
			}
			if n := held.Load(); n == 0 || n > 256<<10 {
				t.Errorf("%d bytes were held while a backend had the body", n)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("left in the folder: %v, %v", left, err)
			}
			if n := w.budget.Held(); n != 0 {
				t.Errorf("%d bytes are held by nobody", n)
			}
		})
	}
}

// Where no file can be had, because the folder takes nothing or the files' bound is
// reached, the body stays in memory, is served all the same, and it is counted.
func TestABodyThatFindsNoFileStaysInMemory(t *testing.T) {
	text := `{"messages":[{"role":"user","content":"` + strings.Repeat("x", 3<<20) + `"}]}`
	for name, spool := range map[string]serve.Spool{
		"no folder": {Dir: filepath.Join(t.TempDir(), "none"), Above: 1 << 20, Budget: bytebudget.New(16<<20, 8<<20)},
		"no room":   {Dir: t.TempDir(), Above: 1 << 20, Budget: bytebudget.New(1<<20, 1<<20)},
	} {
		b := good(t)
		w := newWhole(t, wholeSetup{real: []string{b.url}, change: func(c *serve.Config) { c.Spool = spool }})
		resp := w.send(chatPath, text, true)
		if _, got := b.seen(); resp.StatusCode != http.StatusOK || got != text || w.budget.Held() != 0 {
			t.Errorf("%s: %d, %d bytes arrived, %d held", name, resp.StatusCode, len(got), w.budget.Held())
		}
		if n, _ := w.count("stampgate_bound_refusals_total", `bound="files"`); n != 1 {
			t.Errorf("%s: counted %v times", name, n)
		}
	}
}

// send posts a body, in chunks or announced.
func (w *whole) send(path, body string, chunked bool) reply {
	r := w.request(http.MethodPost, path, body)
	if chunked {
		r.ContentLength = -1
	}
	return w.do(r)
}
