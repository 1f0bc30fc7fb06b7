// Package zaplog lets etcd, which logs through zap, write into our zerolog
// lines. Only the packages that hold an etcd client or server use it.
package zaplog

import (
	"github.com/rs/zerolog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// New returns a zap logger that writes to log. No line is written above the
// level max: a client that retries for hours says so once in our own words, and
// needs no warning per try.
func New(log zerolog.Logger, max zerolog.Level) *zap.Logger {
	return zap.New(&core{log: log, max: max})
}

type core struct {
	log zerolog.Logger
	max zerolog.Level
}

// Enabled asks zerolog, so that lines nobody reads are not built.
func (c *core) Enabled(l zapcore.Level) bool { return c.log.GetLevel() <= c.level(l) }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{log: c.log.With().Fields(asMap(fields)).Logger(), max: c.max}
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
	return min(out, c.max)
}

func asMap(fields []zapcore.Field) map[string]any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	return enc.Fields
}
