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

	"github.com/stampgate/stampgate/gateway/refusal"
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
				c.Spool = serve.Spool{Dir: dir, Above: 1 << 20}
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

// A folder that takes nothing is this machine's lack, and a body that is too large is
// its client's.
func TestWhatCannotBeKeptInAFileIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		dir  string
		size int
		want refusal.Cause
	}{
		"no folder": {filepath.Join(t.TempDir(), "none"), 2 << 20, refusal.LacksResources},
		"too large": {t.TempDir(), serve.MaxBody + 1, refusal.RequestTooLarge},
	} {
		w := newWhole(t, wholeSetup{real: []string{good(t).url}, change: func(c *serve.Config) {
			c.Spool = serve.Spool{Dir: tt.dir, Above: 1 << 20}
		}})
		resp := w.send(chatPath, strings.Repeat("x", tt.size), true)
		if resp.StatusCode != tt.want.Reply().Status || w.budget.Held() != 0 {
			t.Errorf("%s: %d, %d bytes held; want %d", name, resp.StatusCode, w.budget.Held(), tt.want.Reply().Status)
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
