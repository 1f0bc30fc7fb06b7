package telemetry

import (
	"log"
	"maps"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// StdLog returns a standard logger for libraries that want one: memberlist,
// whose "[WARN] memberlist: …" becomes a level, and http.Server.ErrorLog. Lines
// are cut to 512 bytes and scrubbed; a line without a level is a warning.
func StdLog(to zerolog.Logger) *log.Logger {
	return log.New(&stdWriter{log: to, scrub: newScrubber()}, "", 0)
}

// TakeStandardLog sends what libraries write to the standard library's default
// logger into ours. It changes that global, so only a command's main may call
// it. It matters: net/http's transport reports there, in the backend's own
// words, an answer that came without a request. Nobody knows who else writes
// there, and what: a line that is not net/http's is only counted as one.
func TakeStandardLog(to zerolog.Logger) {
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(&stdWriter{log: to, scrub: newScrubber(), onlyHTTP: true})
}

// stdWriter gets one message a call, as log.Logger promises.
type stdWriter struct {
	log      zerolog.Logger
	scrub    scrubber
	onlyHTTP bool // other libraries' lines are withheld
}

// withheld stands for a line whose writer is not known.
const withheld = "a library wrote a line to the standard log, which is withheld"

// Write implements io.Writer.
func (w *stdWriter) Write(p []byte) (int, error) {
	level, text := splitLevel(strings.TrimSpace(string(p)))
	switch {
	case w.log.GetLevel() > level:
	case w.onlyHTTP && !fromHTTP(text):
		w.log.WithLevel(level).Int("bytes", len(p)).Msg(withheld)
	default:
		w.log.WithLevel(level).Msg(w.scrub.line(text))
	}
	return len(p), nil
}

// splitLevel reads the level that hashicorp's libraries put before a message.
// A date may come first, where a library insists on its own flags.
func splitLevel(line string) (zerolog.Level, string) {
	head, rest, ok := strings.Cut(line, "]")
	if !ok {
		return zerolog.WarnLevel, line
	}
	_, name, ok := strings.Cut(head, "[")
	if !ok {
		return zerolog.WarnLevel, line
	}
	rest = strings.TrimSpace(rest)
	switch name {
	case "TRACE":
		return zerolog.TraceLevel, rest
	case "DEBUG":
		return zerolog.DebugLevel, rest
	case "INFO":
		return zerolog.InfoLevel, rest
	case "WARN", "WARNING":
		return zerolog.WarnLevel, rest
	case "ERR", "ERROR":
		return zerolog.ErrorLevel, rest
	default:
		return zerolog.WarnLevel, line
	}
}

// Zap returns a zap logger that writes through ours; etcd wants one. Strings
// are cut and scrubbed. A message at a level above error is logged as an error:
// whether to end the process is not a library's decision.
func Zap(to zerolog.Logger) *zap.Logger {
	return zap.New(zapCore{log: to, scrub: newScrubber()}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

type zapCore struct {
	log    zerolog.Logger
	scrub  scrubber
	fields []zapcore.Field
}

// Enabled implements zapcore.Core.
func (c zapCore) Enabled(l zapcore.Level) bool { return c.log.GetLevel() <= fromZap(l) }

// With implements zapcore.Core.
func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	c.fields = slices.Concat(c.fields, fields)
	return c
}

// Check implements zapcore.Core.
func (c zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	ev := c.log.WithLevel(fromZap(e.Level))
	if e.LoggerName != "" {
		ev = ev.Str("logger", e.LoggerName)
	}
	for _, k := range slices.Sorted(maps.Keys(enc.Fields)) {
		if s, ok := enc.Fields[k].(string); ok {
			ev = ev.Str(fieldName(k), c.scrub.clean(s))
			continue
		}
		ev = ev.Interface(fieldName(k), enc.Fields[k])
	}
	ev.Msg(c.scrub.clean(e.Message))
	return nil
}

// Sync implements zapcore.Core.
func (zapCore) Sync() error { return nil }

// fieldName keeps a foreign field from standing twice in a line under one of
// the names that every line has.
func fieldName(k string) string {
	switch k {
	case "time", "level", "message", "service", "logger":
		return "zap_" + k
	default:
		return k
	}
}

func fromZap(l zapcore.Level) zerolog.Level {
	switch {
	case l < zapcore.InfoLevel:
		return zerolog.DebugLevel
	case l == zapcore.InfoLevel:
		return zerolog.InfoLevel
	case l == zapcore.WarnLevel:
		return zerolog.WarnLevel
	default:
		return zerolog.ErrorLevel
	}
}
