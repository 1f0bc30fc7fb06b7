// Command extract takes from the real provider's schema what our modules use:
//
//	terraform providers schema -json | extract 5.2.0 DIR >schema.json
//
// DIR is searched for resource blocks in .tf files. The output is sorted and
// indented by line, so that a new version of the provider shows as a diff.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const address = "registry.terraform.io/hashicorp/azurerm"

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "extract:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: extract VERSION DIR <schema.json")
	}
	used, err := resourceTypes(args[1])
	if err != nil {
		return err
	}
	var whole struct {
		Schemas map[string]struct {
			Provider struct {
				Block json.RawMessage `json:"block"`
			} `json:"provider"`
			Resources map[string]json.RawMessage `json:"resource_schemas"`
		} `json:"provider_schemas"`
	}
	if err := json.NewDecoder(in).Decode(&whole); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	real, ok := whole.Schemas[address]
	if !ok {
		return fmt.Errorf("the schema is not of %s", address)
	}
	resources := map[string]any{}
	for name := range used {
		text, ok := real.Resources[name]
		if !ok {
			return fmt.Errorf("the provider has no resource %s", name)
		}
		if resources[name], err = lean(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	own, err := lean(real.Provider.Block)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", " ")
	return enc.Encode(map[string]any{
		"origin":           "hashicorp/azurerm, MPL-2.0: the schema of the resource types that our modules use",
		"provider_version": args[0], "provider": own, "resources": resources,
	})
}

// resourceTypes are the azurerm resource types in the .tf files under dir.
func resourceTypes(dir string) (map[string]bool, error) {
	head := regexp.MustCompile(`(?m)^resource "(azurerm_[a-z0-9_]+)"`)
	used := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".tf") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range head.FindAllStringSubmatch(string(text), -1) {
			used[m[1]] = true
		}
		return nil
	})
	return used, err
}

// lean drops what the stub does not serve: descriptions.
func lean(text json.RawMessage) (any, error) {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	strip(v, false)
	return v, nil
}

// strip removes descriptions; inside a map of names a key is a name, and may
// well be "description".
func strip(v any, names bool) {
	object, ok := v.(map[string]any)
	if !ok {
		return
	}
	if !names {
		delete(object, "description")
		delete(object, "description_kind")
	}
	for key, inner := range object {
		strip(inner, !names && (key == "attributes" || key == "block_types"))
	}
}
