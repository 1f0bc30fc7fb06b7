package gateway

import (
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The defaults are safe in a small container as in a large machine, and hold
// against Validate.
func TestDefaultLimitsFollowMemory(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		memory      int64
		connections int
		held        Bytes
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

func TestGroupLimitIsTheLeastOfItsGroups(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("self", "0::/system.slice/gateway.service\n")
	write("root/system.slice/gateway.service/memory.max", "max\n")
	write("root/system.slice/memory.max", "1073741824\n")
	if n, err := groupLimit(filepath.Join(dir, "self"), filepath.Join(dir, "root")); err != nil || n != 1<<30 {
		t.Errorf("limit %d, %v", n, err)
	}
}

func TestSizesAreReadAsTheyAreWritten(t *testing.T) {
	for _, b := range []Bytes{1, 1000, 4 << 10, 512 << 20, 3 << 30} {
		text, err := yaml.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		var back Bytes
		if err := yaml.Unmarshal(text, &back); err != nil || back != b {
			t.Errorf("%d was written %s and read as %d, %v", b, text, back, err)
		}
	}
}
