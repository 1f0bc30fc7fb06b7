// Package image_test builds the image as a release does, and looks into it.
package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/infra/needs"
)

// build builds an image of binaries with the given text and returns its id and
// archive. What is in the binaries does not matter here.
func build(t *testing.T, text string) (id string, archive []byte) {
	t.Helper()
	needs.Tool(t, "buildah")
	binaries := t.TempDir()
	for _, name := range []string{"gateway", "controlplane", "stampctl"} {
		if err := os.WriteFile(filepath.Join(binaries, name), []byte(text+name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	authorities := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(authorities, []byte("authorities"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	cmd := exec.CommandContext(t.Context(), "./build", binaries, "linux/amd64", file)
	cmd.Env = append(os.Environ(), "VERSION=v1.2.3", "REVISION=abc", "CA_CERTIFICATES="+authorities)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	archive, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out)), archive
}

func TestTheImageIsReproducible(t *testing.T) {
	id, archive := build(t, "one ")
	again, archiveAgain := build(t, "one ")
	if id != again || !strings.HasPrefix(id, "sha256:") {
		t.Errorf("ids %s and %s, want the same", id, again)
	}
	if !bytes.Equal(archive, archiveAgain) {
		t.Error("the archives differ")
	}
	if other, _ := build(t, "two "); other == id {
		t.Error("other binaries give the same image")
	}
	look(t, archive)
}

// look checks what is in the image: our files and nothing else, for a user who is
// not root.
func look(t *testing.T, archive []byte) {
	t.Helper()
	blobs := untar(t, bytes.NewReader(archive))
	at := func(digest string) []byte { return blobs["./blobs/"+strings.Replace(digest, ":", "/", 1)].text }
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	parse(t, blobs["./index.json"].text, &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	parse(t, at(index.Manifests[0].Digest), &manifest)
	var config struct {
		OS, Architecture string
		Config           struct {
			User, StopSignal string
			Entrypoint       []string
			ExposedPorts     map[string]any
			Labels           map[string]string
		}
	}
	parse(t, at(manifest.Config.Digest), &config)
	c := config.Config
	if c.User != "65532:65532" || c.StopSignal != "SIGTERM" || !slices.Equal(c.Entrypoint, []string{"/usr/local/bin/gateway"}) {
		t.Errorf("user %q, stop signal %q, entry point %q", c.User, c.StopSignal, c.Entrypoint)
	}
	if c.Labels["org.opencontainers.image.version"] != "v1.2.3" || c.Labels["org.opencontainers.image.revision"] != "abc" {
		t.Errorf("labels %v", c.Labels)
	}
	if len(c.ExposedPorts) != 3 || config.OS+config.Architecture != "linuxamd64" {
		t.Errorf("ports %v for %s %s", c.ExposedPorts, config.OS, config.Architecture)
	}
	found := map[string]entry{}
	for _, l := range manifest.Layers {
		unzipped, err := gzip.NewReader(bytes.NewReader(at(l.Digest)))
		if err != nil {
			t.Fatal(err)
		}
		for name, e := range untar(t, unzipped) {
			if e.mode.IsRegular() || strings.HasPrefix(name, "var/lib/stampgate") {
				found[strings.TrimSuffix(name, "/")] = e
			}
		}
	}
	want := map[string]string{
		"usr/local/bin/gateway": "-r-xr-xr-x", "usr/local/bin/controlplane": "-r-xr-xr-x", "usr/local/bin/stampctl": "-r-xr-xr-x",
		"etc/ssl/certs/ca-certificates.crt": "-r--r--r--", "var/lib/stampgate": "drwx------",
	}
	for name, mode := range want {
		if got := found[name].mode.String(); got != mode {
			t.Errorf("%s has mode %s, want %s", name, got, mode)
		}
	}
	if len(found) != len(want) {
		t.Errorf("%d files, want %d: %v", len(found), len(want), found)
	}
	if e := found["var/lib/stampgate"]; e.uid != 65532 {
		t.Errorf("the state belongs to %d", e.uid)
	}
}

type entry struct {
	text []byte
	mode os.FileMode
	uid  int
}

func untar(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	all := map[string]entry{}
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = entry{text, h.FileInfo().Mode(), h.Uid}
	}
}

func parse(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%v: %.100s", err, text)
	}
}
