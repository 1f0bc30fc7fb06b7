package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	stdlog "log"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/zap"

	"github.com/stampgate/stampgate/stamp/telemetry"
)

// lines decodes what a logger wrote. It refuses a key that stands twice.
func lines(t *testing.T, buf *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(buf.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		for k := range m {
			if strings.Count(line, `"`+k+`":`) != 1 {
				t.Errorf("%q stands twice in %s", k, line)
			}
		}
		all = append(all, m)
	}
	return all
}

func TestALineIsOneJSONObjectWithTheTimeInUTC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1234567 * time.Nanosecond)
		var buf bytes.Buffer
		log := telemetry.NewLogger(&buf, zerolog.InfoLevel, "gateway")
		log.Debug().Msg("not written")
		log.Info().Str("region", "swedencentral").Msg("ready")
		got := lines(t, &buf)
		if len(got) != 1 {
			t.Fatalf("%d lines", len(got))
		}
		for k, want := range map[string]any{
			"level": "info", "service": "gateway", "region": "swedencentral", "message": "ready",
			"time": "2000-01-01T00:00:00.001234567Z",
		} {
			if got[0][k] != want {
				t.Errorf("%s = %v, want %v", k, got[0][k], want)
			}
		}
	})
}

func TestLevelsOfForeignLinesAreKept(t *testing.T) {
	for in, want := range map[string][2]string{
		"[WARN] memberlist: refuting a suspect message":              {"warn", "memberlist: refuting a suspect message"},
		"[ERR] memberlist: conflicting address":                      {"error", "memberlist: conflicting address"},
		"[DEBUG] memberlist: stream connection":                      {"debug", "memberlist: stream connection"},
		"[INFO] memberlist: marking x as failed":                     {"info", "memberlist: marking x as failed"},
		"2026/11/22 10:00:00 [ERROR] memberlist: x":                  {"error", "memberlist: x"},
		"http: TLS handshake error from 127.0.0.1:4: EOF":            {"warn", "http: TLS handshake error from 127.0.0.1:4: EOF"},
		"http: Accept error: accept tcp [::1]:80: too many; retry":   {"warn", "http: Accept error: accept tcp [::1]:80: too many; retry"},
		"http: TLS handshake error from [::1]:4: remote error: tls:": {"warn", "http: TLS handshake error from [::1]:4: remote error: tls:"},
	} {
		var buf bytes.Buffer
		telemetry.StdLog(telemetry.NewLogger(&buf, zerolog.TraceLevel, "")).Print(in)
		got := lines(t, &buf)
		if len(got) != 1 || got[0]["level"] != want[0] || got[0]["message"] != want[1] {
			t.Errorf("%q became %v, want %v", in, got, want)
		}
	}
}

func TestForeignLinesRespectTheLevel(t *testing.T) {
	var buf bytes.Buffer
	log := telemetry.NewLogger(&buf, zerolog.WarnLevel, "")
	telemetry.StdLog(log).Print("[DEBUG] memberlist: x")
	telemetry.Zap(log).Info("x")
	if buf.Len() != 0 {
		t.Errorf("wrote %s", buf.String())
	}
}

// The canaries stand where other libraries would quote a peer.
func TestForeignLinesCarryNoCredential(t *testing.T) {
	const (
		key   = "sg_eu_0123456789abcdefghijABCDEFGHIJ0123456789abc"
		jwt   = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
		plain = "canary-4f2a9c"
	)
	long := strings.Repeat("x", 600)
	for _, in := range []string{
		"http: panic serving 1.2.3.4:5: " + plain + "\nstill " + plain + "\ngoroutine 7 [running]:\nmain.f(0x63616e617279)\n",
		"http: panic serving 1.2.3.4:5: " + plain,
		`Unsolicited response received on idle HTTP channel starting with "HTTP/1.1 400\r\n\r\n{\"x\":\"` + plain + `"; err=<nil>`,
		`http: invalid Content-Length of "` + plain + `"`,
		`http: something cut off in a "quote ` + plain,
		"[WARN] memberlist: push/pull with " + key,
		"Authorization: Bearer " + plain, "authorization: Bearer " + jwt, "got bearer " + plain,
		"token " + jwt + " refused", "api-key: " + plain, "apikey=" + plain, `{"password":"x","apiKey": "` + plain + `"}`,
		"dial https://user:" + plain + "@host/", long + "api-key: " + plain,
		// A key that lies across the cut must not be half there.
		strings.Repeat("y", 490) + key,
	} {
		var buf bytes.Buffer
		log := telemetry.NewLogger(&buf, zerolog.TraceLevel, "")
		telemetry.StdLog(log).Print(in)
		telemetry.Zap(log).With(zap.String("a", in)).Warn(in, zap.String("b", in), zap.Error(errors.New(in)))
		std := lines(t, &buf)
		if len(std) != 2 {
			t.Fatalf("%d lines of 2", len(std))
		}
		for _, bad := range []string{plain, jwt, key, key[:20], "c2lnbmF0dXJl", "0x63616e617279"} {
			if strings.Contains(buf.String(), bad) {
				t.Errorf("%q let %q through:\n%s", in, bad, buf.String())
			}
		}
		if msg, _ := std[0]["message"].(string); len(msg) > 520 {
			t.Errorf("%d bytes of a foreign line", len(msg))
		}
	}
}

// What a peer sent stands in no line of the libraries that speak with it, nor in
// one of a library that nobody expected.
func TestNothingOfAPeerIsInAForeignLine(t *testing.T) {
	const plain = "canary-4f2a9c"
	for _, in := range []string{
		`Unsolicited response received on idle HTTP channel starting with "HTTP/1.1 400 ` + plain + `\"` + plain + `"; err=` + plain,
		`http: TLS handshake error from 127.0.0.1:4: tls: client requested unsupported application protocols (["` + plain + `" "x"])`,
		`http2: server: error reading preface from client 127.0.0.1:4: bogus greeting "` + plain + `"`,
		`[ERR] memberlist: discarding packet with unacceptable label "` + plain + `": from=127.0.0.1:4`,
		`ignoring invalid trailer "` + plain + `"`,
	} {
		var buf bytes.Buffer
		to := telemetry.NewLogger(&buf, zerolog.TraceLevel, "")
		telemetry.StdLog(to).Print(in)
		takeStandardLog(t, to)
		stdlog.Print(in)
		stdlog.Print(plain)
		stdlog.Printf("some library: %v", plain)
		if n := len(lines(t, &buf)); n != 4 || strings.Contains(buf.String(), plain) {
			t.Errorf("%q became %d lines:\n%s", in, n, buf.String())
		}
	}
}

// An error may quote what another machine answered, in either kind of quotes.
func TestAForeignErrorIsWordedWithoutItsQuotes(t *testing.T) {
	const plain = "canary-4f2a9c"
	err := fmt.Errorf("dial 127.0.0.1:1: %w", errors.New("unexpected status 502; data: \""+plain+"\\\""+plain+"\"; cannot unmarshal `"+plain+"` into x; api-key: "+plain+"; \""+plain))
	got := telemetry.Foreign(err).Error()
	if strings.Contains(got, plain) || !strings.Contains(got, "dial 127.0.0.1:1: unexpected status 502") {
		t.Errorf("it became %s", got)
	}
	if telemetry.Foreign(nil) != nil {
		t.Error("nothing became an error")
	}
}

// takeStandardLog takes the process's logger until the test's end.
func takeStandardLog(t *testing.T, to zerolog.Logger) {
	t.Helper()
	flags, prefix, out := stdlog.Flags(), stdlog.Prefix(), stdlog.Writer()
	t.Cleanup(func() {
		stdlog.SetFlags(flags)
		stdlog.SetPrefix(prefix)
		stdlog.SetOutput(out)
	})
	telemetry.TakeStandardLog(to)
}

func TestZapFieldsBecomeOurs(t *testing.T) {
	var buf bytes.Buffer
	log := telemetry.Zap(telemetry.NewLogger(&buf, zerolog.DebugLevel, "control")).Named("etcd")
	log.With(zap.Int("attempt", 3)).Error("retrying", zap.Duration("took", time.Second),
		zap.String("message", "theirs"), zap.Strings("endpoints", []string{"http://127.0.0.1:1"}))
	got := lines(t, &buf)[0]
	if got["level"] != "error" || got["message"] != "retrying" || got["attempt"] != 3.0 ||
		got["logger"] != "etcd" || got["zap_message"] != "theirs" || got["service"] != "control" {
		t.Errorf("got %v", got)
	}
}

func TestTheRegistryHasTheBasicsAndNoGlobals(t *testing.T) {
	reg := telemetry.NewRegistry("v1")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	want := []string{"stampgate_build_info", "go_goroutines"}
	if runtime.GOOS == "linux" {
		want = append(want, "process_resident_memory_bytes")
	}
	for _, n := range want {
		if !names[n] {
			t.Errorf("%s is missing", n)
		}
	}
	// Two registries in one process, as in tests and the development stack.
	telemetry.NewRegistry("v2")
	w := telemetry.NewAsyncWriter(&bytes.Buffer{}, 1)
	if err := telemetry.RegisterDropped(prometheus.NewRegistry(), w); err != nil {
		t.Error(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func BenchmarkLogger(b *testing.B) {
	log := telemetry.NewLogger(discard{}, zerolog.InfoLevel, "gateway")
	b.ReportAllocs()
	for b.Loop() {
		log.Info().Str("route", "gpt-4o").Int("attempts", 1).Msg("request")
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
