package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

//go:noinline
func holdKey(key [32]byte, text string, release <-chan struct{}, up *sync.WaitGroup) byte {
	up.Done()
	<-release
	return key[0] + text[0]
}

func TestTheDumpHoldsNoArguments(t *testing.T) {
	var key [32]byte
	copy(key[:], "canary-canary-canary-canary-cana")
	release := make(chan struct{})
	var up, down sync.WaitGroup
	up.Add(1)
	down.Go(func() { holdKey(key, "canary", release, &up) })
	up.Wait()
	var buf bytes.Buffer
	if err := DumpGoroutines(&buf); err != nil {
		t.Fatal(err)
	}
	close(release)
	down.Wait()
	out := buf.String()
	if !strings.Contains(out, "telemetry.holdKey(...)") {
		t.Error("the stack of the other goroutine is missing")
	}
	// "canary-c" as the word and as the bytes that Go prints.
	for _, bad := range []string{"canary", "0x632d7972616e6163", "0x63, 0x61", fmt.Sprintf("%x", "canary")} {
		if strings.Contains(out, bad) {
			t.Errorf("the dump holds %s", bad)
		}
	}
	if left := regexp.MustCompile(`(?m)^[^\t\n].*\(.*0x.*\)$`).FindString(out); left != "" {
		t.Errorf("arguments are left: %s", left)
	}
}

func TestArgumentsAreStrippedFromEveryShapeOfFrame(t *testing.T) {
	for in, want := range map[string]string{
		"main.f(0x1, 0x2)":                         "main.f(...)",
		"main.f({0xc000012345, 0x20})":             "main.f(...)",
		"main.(*T).method(0xc0000a, {{0x1, 0x2}})": "main.(*T).method(...)",
		"main.f(...)":                              "main.f(...)",
		"main.f()":                                 "main.f()",
		"main.f(0x1?, _, 0x3)":                     "main.f(...)",
		"main.f(_)":                                "main.f(...)",
		"panic({0x63616e, 0x617279})":              "panic(...)",
		"main.f[...](0x1)":                         "main.f[...](...)",
		"created by main.f in goroutine 1":         "created by main.f in goroutine 1",
		"\t/src/main.go:12 +0x1a":                  "\t/src/main.go:12 +0x1a",
		"goroutine 7 [chan receive (nil chan)]:":   "goroutine 7 [chan receive (nil chan)]:",
	} {
		if got := string(stripArguments([]byte(in))); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Len()
}

func TestSIGQUITDumpsAndTheProcessGoesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var buf lockedBuffer
	quit := make(chan os.Signal, 1)
	quit <- syscall.SIGQUIT // before the loop starts, as the kernel would queue it
	done := make(chan struct{})
	go func() { defer close(done); dumpOn(ctx, quit, &buf) }()
	for deadline := time.Now().Add(10 * time.Second); buf.Len() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no dump")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
}

func TestVersionNamesTheBuild(t *testing.T) {
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef"}
	dirty := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.2.3":                   {Main: debug.Module{Version: "v1.2.3"}},
		"devel":                    {Main: debug.Module{Version: "(devel)"}},
		"devel-0123456789ab":       {Settings: []debug.BuildSetting{commit}},
		"devel-0123456789ab-dirty": {Settings: []debug.BuildSetting{commit, dirty}},
	} {
		if got := versionOf(info); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Version() == "" {
		t.Error("no version")
	}
}

func FuzzScrub(f *testing.F) {
	for _, s := range []string{
		"http: panic serving 1.2.3.4:5: x\ngoroutine 1 [running]:\nmain.f(0x1)", `"`, `"\`, "[WARN] x", "[", "]",
		"sg_eu_" + strings.Repeat("a", 43), strings.Repeat("é", 400), "\xff\xfe",
	} {
		f.Add(s)
	}
	scrub := newScrubber()
	f.Fuzz(func(t *testing.T, s string) {
		const canary = "sg_eu_CanaryCanaryCanaryCanaryCanaryCanaryCanary0"
		out := scrub.clean(s + " " + canary + " " + s)
		if len(out) > maxForeign+len(" …") {
			t.Errorf("%d bytes", len(out))
		}
		if strings.Contains(out, "CanaryCanary") {
			t.Errorf("%q let the key through: %q", s, out)
		}
	})
}
