// Package release_test builds a release twice and compares.
package release_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/infra/needs"
)

const version = "v0.0.1-test"

func build(t *testing.T, out string, args ...string) (string, error) {
	t.Helper()
	if len(args) == 0 {
		args = []string{version, out}
	}
	cmd := exec.CommandContext(t.Context(), "./build", args...)
	// One platform: the other takes minutes to compile the first time.
	cmd.Env = append(os.Environ(), "PLATFORMS=linux/amd64")
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// The same commit gives the same bytes, in another folder and at another time.
func TestReleasesAreReproducible(t *testing.T) {
	needs.Tool(t, "git", "buildah")
	if testing.Short() {
		t.Skip("-short: two releases take half a minute")
	}
	one, two := t.TempDir(), t.TempDir()
	for _, out := range []string{one, two} {
		if text, err := build(t, out); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	names := files(t, one)
	want := []string{
		"SHA256SUMS", "stampgate-chart-" + version + ".tgz",
		"stampgate-" + version + "-controlplane.cdx.json", "stampgate-" + version + "-gateway.cdx.json",
		"stampgate-" + version + "-linux-amd64.oci.tar", "stampgate-" + version + "-linux-amd64.tar.gz",
		"stampgate-" + version + "-stampctl.cdx.json",
	}
	slices.Sort(want)
	if !slices.Equal(names, want) || !slices.Equal(files(t, two), want) {
		t.Fatalf("a release has %q, want %q", names, want)
	}
	for _, name := range names {
		if !bytes.Equal(read(t, one, name), read(t, two, name)) {
			t.Errorf("%s differs between two builds", name)
		}
	}
	t.Run("sums", func(t *testing.T) { checkSums(t, one) })
	t.Run("version", func(t *testing.T) { checkVersion(t, one) })
	t.Run("bill of materials", func(t *testing.T) { checkBill(t, one) })
	t.Run("a second release into the same folder", func(t *testing.T) {
		if text, err := build(t, one); err == nil || !strings.Contains(text, "not empty") {
			t.Errorf("%v: %s", err, text)
		}
	})
}

func TestVersionsAreChecked(t *testing.T) {
	for _, args := range [][]string{{}, {"1.2.3", "x"}, {"v2.0.0", "x"}, {"latest", "x"}, {"v1.2.3"}} {
		cmd := exec.CommandContext(t.Context(), "./build", args...)
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
			t.Errorf("build %q: %v, want exit code 2", args, err)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func read(t *testing.T, parts ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func checkSums(t *testing.T, dir string) {
	lines := strings.Split(strings.TrimSpace(string(read(t, dir, "SHA256SUMS"))), "\n")
	if len(lines) != len(files(t, dir))-1 {
		t.Errorf("%d sums for %d files", len(lines), len(files(t, dir)))
	}
	for _, line := range lines {
		want, name, _ := strings.Cut(line, "  ")
		if sum := sha256.Sum256(read(t, dir, name)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s: wrong sum", name)
		}
	}
}

// checkVersion runs the commands of the archive.
func checkVersion(t *testing.T, dir string) {
	unzipped, err := gzip.NewReader(bytes.NewReader(read(t, dir, "stampgate-"+version+"-linux-amd64.tar.gz")))
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	found := map[string]bool{}
	for in := tar.NewReader(unzipped); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(h.Name, "stampgate-"+version+"-linux-amd64/")] = true
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s belongs to %d:%d", h.Name, h.Uid, h.Gid)
		}
		switch name := filepath.Base(h.Name); name {
		case "gateway", "controlplane", "stampctl":
			text, err := io.ReadAll(in)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(bin, name)
			if err := os.WriteFile(path, text, 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), path, "--version").CombinedOutput()
			if err != nil || !strings.Contains(string(out), version) {
				t.Errorf("%s --version: %v: %s", name, err, out)
			}
		}
	}
	for _, name := range []string{"gateway", "controlplane", "stampctl", "loadtest", "LICENSE", "systemd/install", "systemd/azure", "systemd/stampgate.service"} {
		if !found[name] {
			t.Errorf("the archive has no %s", name)
		}
	}
}

// checkBill compares the bill of materials with what Go says is in the gateway.
func checkBill(t *testing.T, dir string) {
	var bill struct {
		BOMFormat    string `json:"bomFormat"`
		SerialNumber string `json:"serialNumber"`
		Components   []struct{ Name, Version string }
	}
	if err := json.Unmarshal(read(t, dir, "stampgate-"+version+"-gateway.cdx.json"), &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BOMFormat != "CycloneDX" || bill.SerialNumber != "" {
		t.Errorf("format %q, serial number %q", bill.BOMFormat, bill.SerialNumber)
	}
	listed := map[string]bool{}
	for _, c := range bill.Components {
		listed[c.Name+" "+c.Version] = true
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "./cmd/gateway")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := regexp.MustCompile(`(?m)^\S+ v\S+$`).FindAllString(string(out), -1)
	for _, m := range slices.Compact(slices.Sorted(slices.Values(modules))) {
		if !listed[m] {
			t.Errorf("%s is in the gateway and not in its bill of materials", m)
		}
	}
	if len(modules) < 10 {
		t.Errorf("%d modules in the gateway", len(modules))
	}
}
