package archtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/infra/archtest"
)

// root is the top of the repository, seen from here.
const root = "../.."

// golist runs go list at the root.
func golist(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// packages are those of the repository. Some may not build just now; who imports
// what can be told all the same.
func packages(t *testing.T) []archtest.Package {
	t.Helper()
	var all []archtest.Package
	dec := json.NewDecoder(bytes.NewReader(golist(t, "-e", "-json=ImportPath,Name,Imports,Doc,GoFiles", "./...")))
	for {
		var p struct {
			ImportPath, Name, Doc string
			Imports, GoFiles      []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if len(p.GoFiles) == 0 {
			continue // only tests, or nothing at all
		}
		all = append(all, archtest.Package{
			Path:    strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, archtest.Module), "/"),
			Imports: p.Imports,
			Doc:     p.Doc,
			Command: p.Name == "main",
		})
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages were found", len(all))
	}
	return all
}

// files are the texts of the repository, by path. What is built or installed
// here, and large data, is left out.
func files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	skip := []string{".git", "bin", "dist", ".dev", ".cache", "node_modules", ".venv"}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went while we looked
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skip, d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular() || path == filepath.Join(root, ".git"): // in a worktree it is a file
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil // likewise
		}
		if len(b) < 4<<20 && !bytes.Contains(b[:min(len(b), 8000)], []byte{0}) {
			rel, _ := filepath.Rel(root, path)
			all[filepath.ToSlash(rel)] = string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all["go.mod"] == "" {
		t.Fatal("this is not the repository")
	}
	return all
}

// only returns the files whose names end so.
func only(all map[string]string, endings ...string) map[string]string {
	some := map[string]string{}
	for name, text := range all {
		if slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) }) {
			some[name] = text
		}
	}
	return some
}

func report(t *testing.T, wrong []string) {
	t.Helper()
	for _, w := range wrong {
		t.Error(w)
	}
}

func TestPackages(t *testing.T) {
	all := packages(t)
	for name, check := range map[string]func([]archtest.Package) []string{
		"imports have a direction":         archtest.CheckDirection,
		"libraries stay with their keeper": archtest.CheckLibraries,
		"pure packages do no I/O":          archtest.CheckPure,
		"every package has a comment":      archtest.CheckComments,
	} {
		t.Run(name, func(t *testing.T) { report(t, check(all)) })
	}
}

// A third of the gateway was gin once, for two routes.
func TestTheGatewayBinaryHoldsWhatItNeeds(t *testing.T) {
	deps := strings.Fields(string(golist(t, "-e", "-deps", "./cmd/gateway")))
	if !slices.Contains(deps, archtest.Module+"/gateway") {
		t.Fatal("the gateway command does not hold the gateway")
	}
	report(t, archtest.CheckDependencies("cmd/gateway", deps, []string{
		"go.etcd.io/etcd/server", "go.etcd.io/bbolt", "go.etcd.io/raft", "github.com/gin-gonic/gin",
		archtest.Module + "/loadtest", archtest.Module + "/infra",
		archtest.Module + "/controlplane/embedded", archtest.Module + "/controlplane/api",
	}))
}

func TestTheGatewayDialsThroughTheFence(t *testing.T) {
	report(t, archtest.CheckDialing(only(files(t), ".go")))
}

func TestOnlyTheEdgeSeesAServer(t *testing.T) {
	report(t, archtest.CheckServing(only(files(t), ".go")))
}

func TestTheTopLevelIsFixed(t *testing.T) {
	var entries []string
	for name := range files(t) {
		first, _, _ := strings.Cut(name, "/")
		if !slices.Contains(entries, first) {
			entries = append(entries, first)
		}
	}
	report(t, archtest.CheckTopLevel(entries))
}

func TestLinksLeadSomewhere(t *testing.T) {
	report(t, archtest.CheckLinks(files(t), func(path string) bool {
		_, err := os.Stat(filepath.Join(root, filepath.FromSlash(path)))
		return err == nil
	}))
}

func TestNoFileNamesSomebodysMachine(t *testing.T) { report(t, archtest.CheckNoLocalPaths(files(t))) }

func TestNoCommentPutsWorkOff(t *testing.T) {
	report(t, archtest.CheckNoNotes(only(files(t), ".go", "Makefile", ".yml", ".yaml", ".md", ".sh")))
}
