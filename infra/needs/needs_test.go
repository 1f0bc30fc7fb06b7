package needs_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/infra/needs"
)

// A watched test notes how it would have ended, in place of ending.
type watched struct {
	testing.TB
	said []any
	end  string
}

func (w *watched) Helper()           {}
func (w *watched) Fatal(args ...any) { w.said, w.end = args, "failed"; runtime.Goexit() }
func (w *watched) Skip(args ...any)  { w.said, w.end = args, "skipped"; runtime.Goexit() }

// outcome runs a part of a test in a goroutine of its own, which Fatal and Skip
// end.
func outcome(t *testing.T, part func(testing.TB)) *watched {
	t.Helper()
	w := &watched{TB: t, end: "ran"}
	done := make(chan struct{})
	go func() {
		defer close(done)
		part(w)
	}()
	<-done
	return w
}

func TestAMissingToolSkipsAndInCIFails(t *testing.T) {
	for ci, want := range map[string]string{"": "skipped", "false": "skipped", "true": "failed", "1": "failed", "woodpecker": "failed"} {
		t.Setenv("CI", ci)
		w := outcome(t, func(t testing.TB) { needs.Tool(t, "go", "no-such-tool-anywhere") })
		if w.end != want || !strings.Contains(strings.Trim(strings.Join(words(w.said), " "), " "), "no-such-tool-anywhere is not installed") {
			t.Errorf("CI=%q: %s, %v; want %s", ci, w.end, w.said, want)
		}
		if want == "skipped" && w.said[0] != "SKIPPED:" {
			t.Errorf("a search for SKIPPED does not find %v", w.said)
		}
		if w := outcome(t, func(t testing.TB) { needs.Tool(t, "go") }); w.end != "ran" {
			t.Errorf("CI=%q, nothing is missing: %s, %v", ci, w.end, w.said)
		}
	}
}

func words(args []any) (out []string) {
	for _, a := range args {
		if s, ok := a.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func TestRootIsAskedForByUserAlone(t *testing.T) {
	want := "failed"
	if os.Geteuid() == 0 {
		want = "ran"
	}
	t.Setenv("CI", "true")
	if w := outcome(t, func(t testing.TB) { needs.Root(t, "no namespaces") }); w.end != want {
		t.Errorf("%s, %v; want %s", w.end, w.said, want)
	}
}

func TestASmallDiskCanBeFilled(t *testing.T) {
	dir := needs.SmallDisk(t, 1<<20)
	path := filepath.Join(dir, "all")
	needs.Fill(t, path)
	if info, err := os.Stat(path); err != nil || info.Size() > 1<<20 || info.Size() < 1<<19 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), make([]byte, 1<<16), 0o600); err == nil {
		t.Error("there is room left")
	}
}
