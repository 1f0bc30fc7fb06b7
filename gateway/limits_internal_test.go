package gateway

import (
	"testing"

	"github.com/stampgate/stampgate/gateway/memory"
)

// The defaults are safe in a small container as in a large machine, and hold
// against Validate.
func TestDefaultLimitsFollowMemory(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		memory      int64
		connections int
		held        memory.Size
	}{
		{0, 16384, 512 * mib}, // nobody says
		{64 << 30, 16384, 512 * mib},
		{1 << 30, 16384, 256 * mib},
		{256 * mib, 4096, 2 * leastHeld}, // less would refuse the largest request
		{1 * mib, 64, 2 * leastHeld},
	} {
		l := Limits{}.withDefaults(tt.memory)
		if l.Connections != tt.connections || l.Held != tt.held || l.HeldPerClient != tt.held/2 || l.ConnectionsPerSource != tt.connections/4 {
			t.Errorf("%d bytes of memory: %+v", tt.memory, l)
		}
		l.validate(func(path, format string, args ...any) {
			t.Errorf("%d bytes of memory: %s: "+format, append([]any{tt.memory, path}, args...)...)
		})
	}
	given := Limits{Connections: 7, ConnectionsPerSource: 3, Held: 200 * mib}.withDefaults(1 << 30)
	if given.Connections != 7 || given.ConnectionsPerSource != 3 || given.Held != 200*mib {
		t.Errorf("what was given became %+v", given)
	}
}
