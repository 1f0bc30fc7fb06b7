// Command k8sschema writes the schema of each of Kubernetes' own kinds into a
// folder, for kubeconform:
//
//	k8sschema DIR
//
// They are derived from the API description in the source of one release of
// Kubernetes, which the Go module proxy has; the sites that others publish such
// schemas on are not asked. They are strict: a field that there is not is an error.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// release of Kubernetes whose API is described.
const release = "k8s.io/kubernetes@v1.36.3"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "k8sschema:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: k8sschema DIR")
	}
	text, err := source()
	if err != nil {
		return err
	}
	var api struct {
		Definitions map[string]map[string]any `json:"definitions"`
	}
	if err := json.Unmarshal(text, &api); err != nil {
		return fmt.Errorf("read the description of the API: %w", err)
	}
	for name, definition := range api.Definitions {
		harden(name, definition)
	}
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	all, err := json.Marshal(map[string]any{"definitions": api.Definitions})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(args[0], "_definitions.json"), all, 0o644); err != nil {
		return err
	}
	return index(args[0], api.Definitions)
}

// source is the description of the API of the release.
func source() ([]byte, error) {
	out, err := exec.Command("go", "mod", "download", "-json", release).Output()
	if err != nil {
		return nil, fmt.Errorf("download %s: %w: %s", release, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
}

// harden makes a definition strict, and repairs what the description cannot say.
// It walks schemas only: below "properties" the keys are names of fields.
func harden(name string, schema map[string]any) {
	switch {
	case name == "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
		name == "io.k8s.apimachinery.pkg.api.resource.Quantity": // 1 and "1Gi" are both one
		delete(schema, "type")
		delete(schema, "format")
		schema["oneOf"] = []any{map[string]any{"type": "string"}, map[string]any{"type": "number"}}
		return
	}
	delete(schema, "format") // of documentation only; byte and date-time are not checked
	if properties, ok := schema["properties"].(map[string]any); ok {
		if _, open := schema["additionalProperties"]; !open {
			schema["additionalProperties"] = false
		}
		for _, p := range properties {
			if inner, ok := p.(map[string]any); ok {
				harden("", inner)
			}
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[key].(map[string]any); ok {
			harden("", inner)
		}
	}
	if ref, ok := schema["$ref"].(string); ok {
		// Beside a reference nothing else counts.
		clear(schema)
		schema["$ref"] = ref
	}
}

// index writes a file for each kind, by the name that kubeconform looks for.
func index(dir string, definitions map[string]map[string]any) error {
	for name, definition := range definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 {
			continue // of every group, such as DeleteOptions: nobody writes those
		}
		kind, _ := kinds[0].(map[string]any)
		group, _, _ := strings.Cut(fmt.Sprint(kind["group"]), ".")
		file := fmt.Sprint(kind["kind"])
		if group != "" {
			file += "-" + group
		}
		file = strings.ToLower(file + "-" + fmt.Sprint(kind["version"]) + ".json")
		text, err := json.Marshal(map[string]any{"$ref": "_definitions.json#/definitions/" + name})
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
