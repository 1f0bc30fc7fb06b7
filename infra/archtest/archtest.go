// Package archtest holds the rules that the repository keeps about itself: who
// may import what, who may open connections, what stands at the top level, that
// every package has a comment and every link leads somewhere.
//
// Each rule is a function from what was found to what is wrong, so that a
// fixture can show that it bites. The package only reads; its tests apply the
// rules to this repository, and nothing else imports it.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of our module.
const Module = "github.com/stampgate/stampgate"

// A Package is what the rules look at. Paths of our own packages are relative to
// the module ("" is its root).
type Package struct {
	Path    string
	Imports []string // of the package itself, not of its tests
	Doc     string   // first sentence of the package comment
	Command bool     // package main
}

// ours strips the module from an import path.
func ours(path string) (string, bool) {
	if path == Module {
		return "", true
	}
	return strings.CutPrefix(path, Module+"/")
}

// within reports whether the package is the folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// mayImport says which of our packages a folder may import. The longest folder
// that holds a package decides. An entry with a slash admits only that package,
// one without admits the whole folder. Folders that are not named (cmd, infra)
// may import anything: nobody imports them, see nobodyImports.
func mayImport() map[string][]string {
	return map[string][]string{
		"geo":                 {"geo"},
		"controlplane/policy": {"geo", "stamp/strictyaml"},
		"stamp":               {"geo", "stamp"},
		"stamp/wire":          {},
		"controlplane":        {"geo", "stamp", "controlplane"},
		"gateway": {
			"geo", "stamp", "gateway",
			"controlplane/policy", "controlplane/store", "controlplane/signing",
		},
		// What reads a gateway's answers needs no part of a gateway but what is said of
		// targets, which links neither servers nor stores.
		"gateway/admin/adminapi": {"geo", "gateway/targets"},
		// Health owns no view of targets: it asks targets, which never asks back.
		"gateway/health":  {"geo", "controlplane/policy", "gateway/breaker", "gateway/targets"},
		"gateway/targets": {"geo", "controlplane/policy", "gateway/breaker", "gateway/budget", "gateway/pick", "gateway/throttle"},
		"gateway/orders":  {"geo", "controlplane/store", "gateway/targets"},
		"gateway/memory":  {},
		// What the stages of the pipeline hand to each other knows none of them.
		"gateway/message": {},
		"gateway/refusal": {},
		"gateway/body":    {},
		// Serve chooses and asks relay to try; relay asks upstream. None asks back.
		"gateway/relay": {
			"controlplane/policy", "stamp/lifecycle", "gateway/answer", "gateway/body", "gateway/bytebudget", "gateway/message",
			"gateway/operation", "gateway/refusal", "gateway/running", "gateway/sse", "gateway/targets", "gateway/throttle", "gateway/upstream",
		},
		"gateway/upstream":  {"geo", "controlplane/policy", "gateway/descriptor", "gateway/probe"},
		"stamp/certificate": {},
		// It decides when to probe and opens no connection itself.
		"gateway/probe": {"geo", "controlplane/policy"},
		// The simulator stands for Azure: it shares no code with what it tests.
		"loadtest": {"geo", "stamp", "loadtest"},
	}
}

// nobodyImports are folders that only they themselves may import, and cmd.
func nobodyImports() []string { return []string{"cmd", "infra"} }

// CheckDirection reports imports among our own packages that mayImport forbids.
func CheckDirection(packages []Package) []string {
	var wrong []string
	table := mayImport()
	for _, p := range packages {
		allowed, limited := table[longest(p.Path, table)]
		for _, path := range p.Imports {
			target, ok := ours(path)
			if !ok {
				continue
			}
			switch {
			case limited && !admits(allowed, target):
				wrong = append(wrong, fmt.Sprintf("%s imports %s; it may import %v", p.Path, target, allowed))
			case reserved(p.Path, target):
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which only commands may", p.Path, target))
			}
		}
	}
	return wrong
}

// longest returns the longest folder of the table that holds the package.
func longest(path string, table map[string][]string) string {
	best := ""
	for folder := range table {
		if within(path, folder) && len(folder) > len(best) {
			best = folder
		}
	}
	return best
}

func admits(allowed []string, target string) bool {
	return slices.ContainsFunc(allowed, func(entry string) bool {
		if strings.Contains(entry, "/") {
			return target == entry
		}
		return within(target, entry)
	})
}

func reserved(from, target string) bool {
	return slices.ContainsFunc(nobodyImports(), func(folder string) bool {
		return within(target, folder) && !within(from, folder) && !within(from, "cmd")
	})
}

// A keeper is a library that only some packages may import.
type keeper struct {
	library string
	allowed func(path string) bool
	who     string // of allowed, in words
}

func keepers() []keeper {
	under := func(folders ...string) func(string) bool {
		return func(path string) bool {
			return slices.ContainsFunc(folders, func(f string) bool { return within(path, f) })
		}
	}
	return []keeper{
		{"github.com/gin-gonic/gin", under("controlplane/api", "controlplane/dashboard"), "controlplane/api and dashboard"},
		{"go.etcd.io/etcd/server", under("controlplane/embedded"), "controlplane/embedded"},
		{"go.etcd.io/etcd/client", under("controlplane/store", "controlplane/embedded"), "controlplane/store and embedded"},
		{"github.com/hashicorp/memberlist", under("stamp/membership"), "stamp/membership"},
		{"google.golang.org/protobuf", under("stamp/wire"), "stamp/wire"},
		{"go.uber.org/zap", under("stamp/telemetry"), "stamp/telemetry"},
	}
}

// CheckLibraries reports imports of a library by a package that is not its
// keeper.
func CheckLibraries(packages []Package) []string {
	var wrong []string
	for _, p := range packages {
		for _, path := range p.Imports {
			for _, k := range keepers() {
				if within(path, k.library) && !k.allowed(p.Path) {
					wrong = append(wrong, fmt.Sprintf("%s imports %s, which is for %s", p.Path, path, k.who))
				}
			}
		}
	}
	return wrong
}

// pure are the packages that decide and do nothing else.
func pure() []string {
	return []string{
		"geo", "controlplane/policy", "stamp/strictyaml",
		"gateway/pick", "gateway/breaker", "gateway/budget", "gateway/throttle", "gateway/targets",
		"gateway/operation", "gateway/sse", "gateway/answer", "gateway/bytebudget",
	}
}

func isPure(path string) bool {
	return slices.ContainsFunc(pure(), func(f string) bool { return within(path, f) })
}

// CheckPure reports pure packages that could do I/O. They may import net for its
// text functions; CheckDialing looks at what they use of it.
func CheckPure(packages []Package) []string {
	doesIO := []string{"os", "os/exec", "os/signal", "syscall", "log", "testing"}
	var wrong []string
	for _, p := range packages {
		if !isPure(p.Path) {
			continue
		}
		for _, path := range p.Imports {
			if slices.Contains(doesIO, path) {
				wrong = append(wrong, fmt.Sprintf("%s is pure but imports %s", p.Path, path))
			}
		}
	}
	return wrong
}

// CheckDependencies reports libraries that must not be in a binary, given all
// packages that it is built of.
func CheckDependencies(binary string, all, forbidden []string) []string {
	var wrong []string
	for _, path := range all {
		for _, f := range forbidden {
			if within(path, f) {
				wrong = append(wrong, fmt.Sprintf("%s contains %s", binary, path))
			}
		}
	}
	return wrong
}

// CheckComments reports packages without a comment, or with one that does not
// begin as godoc wants it.
func CheckComments(packages []Package) []string {
	var wrong []string
	for _, p := range packages {
		name := p.Path[strings.LastIndex(p.Path, "/")+1:]
		if p.Command {
			if p.Doc == "" {
				wrong = append(wrong, p.Path+": the command has no comment")
			}
			continue
		}
		if !strings.HasPrefix(p.Doc, "Package "+name+" ") {
			wrong = append(wrong, fmt.Sprintf("%s: the package comment begins %q, want %q", p.Path, p.Doc, "Package "+name+" …"))
		}
	}
	return wrong
}
