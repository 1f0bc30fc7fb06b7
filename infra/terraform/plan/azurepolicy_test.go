package plan_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A condition of an Azure Policy rule, as far as our definitions use the language.
type condition struct {
	AllOf     []condition `json:"allOf"`
	AnyOf     []condition `json:"anyOf"`
	Not       *condition  `json:"not"`
	Field     string      `json:"field"`
	Equals    any         `json:"equals"`
	NotEquals any         `json:"notEquals"`
	In        any         `json:"in"`
	NotIn     any         `json:"notIn"`
}

// holds evaluates the condition as Azure does: texts without regard to case, a
// field that is absent equals nothing.
func (c condition) holds(t *testing.T, fields, parameters map[string]any) bool {
	t.Helper()
	value := func(v any) any {
		s, ok := v.(string)
		if name, found := strings.CutPrefix(s, "[parameters('"); ok && found {
			return parameters[strings.TrimSuffix(name, "')]")]
		}
		return v
	}
	same := func(a, b any) bool { return a != nil && strings.EqualFold(fmt.Sprint(a), fmt.Sprint(b)) }
	among := func(v any) bool {
		list, ok := value(v).([]any)
		if !ok {
			t.Fatalf("%v is no list", v)
		}
		return slices.ContainsFunc(list, func(e any) bool { return same(fields[c.Field], e) })
	}
	switch {
	case c.AllOf != nil:
		return !slices.ContainsFunc(c.AllOf, func(c condition) bool { return !c.holds(t, fields, parameters) })
	case c.AnyOf != nil:
		return slices.ContainsFunc(c.AnyOf, func(c condition) bool { return c.holds(t, fields, parameters) })
	case c.Not != nil:
		return !c.Not.holds(t, fields, parameters)
	case c.Equals != nil:
		return same(fields[c.Field], value(c.Equals))
	case c.NotEquals != nil:
		return !same(fields[c.Field], value(c.NotEquals))
	case c.In != nil:
		return among(c.In)
	case c.NotIn != nil:
		return !among(c.NotIn)
	}
	t.Fatalf("a condition that this evaluation does not know: %+v", c)
	return false
}

type definition struct {
	Properties struct {
		DisplayName, Description, Mode string
		Parameters                     map[string]struct {
			Type         string
			DefaultValue any
		}
		PolicyRule struct {
			If   condition
			Then struct{ Effect string }
		}
	}
}

// Azure Policy denies by hand what our modules never build, and nothing of what
// they do.
func TestGuardrails(t *testing.T) {
	parameters := map[string]any{
		"allowedSkus":      []any{"Standard", "ProvisionedManaged"},
		"allowedLocations": []any{"swedencentral", "francecentral"},
	}
	const account = "Microsoft.CognitiveServices/accounts"
	good := map[string]any{
		"type": account, "location": "swedencentral",
		account + "/publicNetworkAccess": "Disabled", account + "/disableLocalAuth": true,
	}
	deployment := map[string]any{"type": account + "/deployments", account + "/deployments/sku.name": "Standard"}
	vault := map[string]any{"type": "Microsoft.KeyVault/vaults", "location": "francecentral", "Microsoft.KeyVault/vaults/publicNetworkAccess": "Disabled"}
	with := func(fields map[string]any, name string, value any) map[string]any {
		changed := map[string]any{name: value}
		for k, v := range fields {
			if k != name {
				changed[k] = v
			}
		}
		return changed
	}
	cases := map[string]struct {
		fields map[string]any
		denied string // the definition; empty: none
	}{
		"an instance of ours":         {good, ""},
		"a deployment of ours":        {deployment, ""},
		"a vault of ours":             {vault, ""},
		"Front Door":                  {map[string]any{"type": "Microsoft.Cdn/profiles", "location": "global"}, ""},
		"spelt otherwise":             {with(good, "location", "SwedenCentral"), ""},
		"a public instance":           {with(good, account+"/publicNetworkAccess", "Enabled"), "deny-openai-public-access"},
		"an instance that says not":   {with(good, account+"/publicNetworkAccess", nil), "deny-openai-public-access"},
		"an instance with keys":       {with(good, account+"/disableLocalAuth", false), "deny-openai-local-auth"},
		"an instance elsewhere":       {with(good, "location", "eastus"), "deny-location"},
		"anything elsewhere":          {map[string]any{"type": "Microsoft.Compute/disks", "location": "eastus"}, "deny-location"},
		"a global deployment":         {with(deployment, account+"/deployments/sku.name", "GlobalStandard"), "deny-openai-deployment-skus"},
		"a SKU that nobody knows yet": {with(deployment, account+"/deployments/sku.name", "Planetary"), "deny-openai-deployment-skus"},
		"the SKU without a residency": {with(deployment, account+"/deployments/sku.name", "Developer"), "deny-openai-deployment-skus"},
		"a public vault":              {with(vault, "Microsoft.KeyVault/vaults/publicNetworkAccess", "Enabled"), "deny-key-vault-public-access"},
	}
	denials := map[string]int{}
	for name, def := range definitions(t) {
		p := def.Properties
		if p.DisplayName == "" || p.Description == "" || p.PolicyRule.Then.Effect != "[parameters('effect')]" || p.Parameters["effect"].DefaultValue != "Deny" {
			t.Errorf("%s: needs a name, a description, and Deny as its default", name)
		}
		for what, tc := range cases {
			if tc.fields["location"] == nil && p.Mode == "Indexed" {
				continue // Azure does not show such resources to it
			}
			if p.PolicyRule.If.holds(t, tc.fields, parameters) {
				denials[what]++
				if tc.denied != name {
					t.Errorf("%s: denied by %s, want %q", what, name, tc.denied)
				}
			}
		}
	}
	for what, tc := range cases {
		if tc.denied != "" && denials[what] == 0 {
			t.Errorf("%s is not denied", what)
		}
	}
}

func definitions(t *testing.T) map[string]definition {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "infra", "terraform", "modules", "guardrails", "policies", "*.json"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d definitions, %v", len(files), err)
	}
	all := map[string]definition{}
	for _, f := range files {
		var d definition
		if err := json.Unmarshal([]byte(read(t, f)), &d); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = d
	}
	return all
}
