package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stampgate/stampgate/cmd/internal/command/commandtest"
)

func TestMain(m *testing.M) { commandtest.Main(m, main) }

func config(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "controlplane.yaml")
	text := strings.ReplaceAll("listen: 127.0.0.1:0\ntokenFile: D/token\nsigningKeyFile: D/key\nembedded: {dir: D/etcd}\nboundaries: {eu: {}}\n", "D", dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCodesAndWords(t *testing.T) {
	good := config(t)
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("lisen: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no configuration":   {nil, 2, "config"},
		"an unknown flag":    {[]string{"--confg", good}, 2, "confg"},
		"an argument":        {[]string{"--config", good, "x"}, 2, "x"},
		"the version":        {[]string{"--version"}, 0, "controlplane version"},
		"help":               {[]string{"--help"}, 0, "--allow-loopback-backends"},
		"a good check":       {[]string{"check", "--config", good}, 0, "is valid: 1 boundaries"},
		"a bad check":        {[]string{"check", "--config", bad}, 2, "lisen"},
		"a bad start":        {[]string{"--config", bad}, 2, "lisen"},
		"a file that is not": {[]string{"--config", "missing.yaml"}, 2, "missing.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := commandtest.Run(t, c.args...); got.Code != c.code || !strings.Contains(got.Out+got.Errors, c.want) {
				t.Errorf("exit code %d, want %d with %q:\n%s%s", got.Code, c.code, c.want, got.Out, got.Errors)
			}
		})
	}
}

func TestItSaysReadyInJSONAndStopsOnSIGTERM(t *testing.T) {
	r := commandtest.Start(t, commandtest.New(t, "--config", config(t)))
	if _, err := r.End(t, syscall.SIGTERM); err != nil || r.Out.Len() > 0 {
		t.Errorf("stdout %q, ended with %v", r.Out.String(), err)
	}
}
