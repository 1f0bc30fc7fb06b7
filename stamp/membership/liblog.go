package membership

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// libraryLog stands between memberlist and our log. memberlist tells of what it
// refused in words alone, so this is where that is counted; and it writes a
// line for each bad packet, so this is where a flood of them stops.
type libraryLog struct {
	to      io.Writer
	drops   *drops
	closing atomic.Bool // what memberlist says while its sockets close is no news

	mu    sync.Mutex // guards the fields below; never held across a call out
	since time.Time
	lines int
}

// logLines may be written in each logWindow, debug lines apart.
const (
	logLines  = 20
	logWindow = 10 * time.Second
)

// Write implements io.Writer; each call is one line.
func (l *libraryLog) Write(p []byte) (int, error) {
	if l.closing.Load() {
		return len(p), nil
	}
	if bytes.Contains(p, []byte("[DEBUG]")) {
		return l.to.Write(p)
	}
	if r, ok := refusal(p); ok {
		l.drops.add(r)
	}
	if !l.admit(time.Now()) {
		l.drops.add(dropLogLine)
		return len(p), nil
	}
	return l.to.Write(p)
}

func (l *libraryLog) admit(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) > logWindow {
		l.since, l.lines = now, 0
	}
	l.lines++
	return l.lines <= logLines
}

// refusal reads from memberlist's text why it dropped something. Text that a
// new version words differently is counted as "library".
func refusal(p []byte) (reason, bool) {
	has := func(s string) bool { return bytes.Contains(p, []byte(s)) }
	switch {
	case has("label"):
		return dropLabel, true
	case has("crypt") && !has("without encryption"): // "Decrypt packet failed", "not encrypted", "unsupported encryption"
		return dropKey, true
	case has("decode"), has("limit"), has("nvalid"), has("not supported"), has("truncated"), has("missing"),
		has("queue full"), has("Too many"), has("decompress"), has("larger"), has("failed to receive"):
		return dropLibrary, true
	}
	return 0, false
}
