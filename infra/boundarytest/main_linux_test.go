package boundarytest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Geteuid() == 0 {
		sweep()
	}
	os.Exit(m.Run())
}

// sweep takes away what a test that was killed has left behind: its namespaces,
// and the processes in them. Those of a test that runs stay.
func sweep() {
	names, _ := filepath.Glob("/run/netns/sgb-*")
	for _, path := range names {
		name := filepath.Base(path)
		m := regexp.MustCompile(`^sgb-(\d+)-`).FindStringSubmatch(name)
		if m == nil {
			continue
		}
		if pid, err := strconv.Atoi(m[1]); err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		if out, err := exec.Command("ip", "netns", "pids", name).Output(); err == nil {
			for field := range strings.FieldsSeq(string(out)) {
				if pid, err := strconv.Atoi(field); err == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
		}
		_ = exec.Command("ip", "netns", "del", name).Run()
		_ = os.RemoveAll(filepath.Join("/etc/netns", name))
	}
}
