// Package zaplog lets etcd, which logs through zap, write into our zerolog
// lines. Only the packages that hold an etcd client or server use it.
package zaplog

import (
	"io"

	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
)

// New returns a zap logger that writes to log. No line is written above the
// level that limit returns at that moment: a client that retries for hours says
// so once in our own words, and needs no warning per try.
func New(log zerolog.Logger, limit func() zerolog.Level) *zap.Logger {
	return zap.New(&core{log: log, limit: limit})
}

// SilenceGRPC keeps gRPC, which both ends of etcd speak, from writing lines of
// its own to stderr. It may be called once, by main, before anything else.
func SilenceGRPC() {
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}

type core struct {
	log   zerolog.Logger
	limit func() zerolog.Level
}

// Enabled asks zerolog, so that lines nobody reads are not built.
func (c *core) Enabled(l zapcore.Level) bool { return c.log.GetLevel() <= c.level(l) }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: c.log.With().Fields(asMap(fields)).Logger(), limit: c.limit}
}

func (c *core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.log.WithLevel(c.level(e.Level)).Fields(asMap(fields)).Msg(e.Message)
	return nil
}

func (c *core) Sync() error { return nil }

// level maps zap's levels one down where they only tell of routine: what etcd
// calls info is of use to those who look for a fault.
func (c *core) level(l zapcore.Level) zerolog.Level {
	var out zerolog.Level
	switch {
	case l >= zapcore.ErrorLevel: // also panic and fatal: zap itself ends the process
		out = zerolog.ErrorLevel
	case l == zapcore.WarnLevel:
		out = zerolog.WarnLevel
	default:
		out = zerolog.DebugLevel
	}
	return min(out, c.limit())
}

func asMap(fields []zapcore.Field) map[string]any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	return enc.Fields
}
