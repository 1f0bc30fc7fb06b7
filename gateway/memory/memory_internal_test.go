package memory

import (
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v3"
)

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
	for _, b := range []Size{1, 1000, 4 << 10, 512 << 20, 3 << 30} {
		text, err := yaml.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		var back Size
		if err := yaml.Unmarshal(text, &back); err != nil || back != b {
			t.Errorf("%d was written %s and read as %d, %v", b, text, back, err)
		}
	}
}
