// Command azurermstub is a provider for Terraform that has the schema of
// hashicorp/azurerm and nothing else.
//
// `terraform validate`, and `terraform test` with a mocked provider, ask a
// provider only for its schema: Terraform plans and applies mocks by itself.
// With this stand-in (14 MB, seconds to build) every module is checked on a
// machine that reaches neither Azure nor Terraform's registry. It can never plan
// or apply for real: those methods are not there.
//
// What it does not know are the rules that the real provider has in code: value
// lists, ranges, cross-field rules. Ours are validations and preconditions of the
// modules; `make infra-validate` runs the real provider before a release.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// extracted is the schema of the resource types that our modules use, taken by
// the extract command from what the real provider says of itself.
//
//go:embed schema.json
var extracted []byte

// address is how Terraform names the provider that this one stands for.
const address = "registry.terraform.io/hashicorp/azurerm"

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "azurermstub:", err)
		os.Exit(1)
	}
}

func serve() error {
	schema, err := parse(extracted)
	if err != nil {
		return err
	}
	return tf5server.Serve(address, func() tfprotov5.ProviderServer { return provider{schema: schema} })
}

// block is a block as `terraform providers schema -json` writes it.
type block struct {
	Attributes map[string]attribute `json:"attributes"`
	BlockTypes map[string]nested    `json:"block_types"`
}

type attribute struct {
	Type       json.RawMessage `json:"type"`
	Required   bool            `json:"required"`
	Optional   bool            `json:"optional"`
	Computed   bool            `json:"computed"`
	Sensitive  bool            `json:"sensitive"`
	Deprecated bool            `json:"deprecated"`
	WriteOnly  bool            `json:"write_only"`
}

type nested struct {
	NestingMode string `json:"nesting_mode"`
	MinItems    int64  `json:"min_items"`
	MaxItems    int64  `json:"max_items"`
	Block       block  `json:"block"`
}

type versioned struct {
	Version int64 `json:"version"`
	Block   block `json:"block"`
}

func parse(text []byte) (*tfprotov5.GetProviderSchemaResponse, error) {
	var document struct {
		Provider  block                `json:"provider"`
		Resources map[string]versioned `json:"resources"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, fmt.Errorf("read the extract of the schema: %w", err)
	}
	own, err := document.Provider.convert()
	if err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	out := &tfprotov5.GetProviderSchemaResponse{
		ServerCapabilities: &tfprotov5.ServerCapabilities{},
		Provider:           &tfprotov5.Schema{Block: own},
		ResourceSchemas:    map[string]*tfprotov5.Schema{},
	}
	for name, resource := range document.Resources {
		b, err := resource.Block.convert()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.ResourceSchemas[name] = &tfprotov5.Schema{Version: resource.Version, Block: b}
	}
	return out, nil
}

func (b block) convert() (*tfprotov5.SchemaBlock, error) {
	modes := map[string]tfprotov5.SchemaNestedBlockNestingMode{
		"single": tfprotov5.SchemaNestedBlockNestingModeSingle,
		"list":   tfprotov5.SchemaNestedBlockNestingModeList,
		"set":    tfprotov5.SchemaNestedBlockNestingModeSet,
		"map":    tfprotov5.SchemaNestedBlockNestingModeMap,
	}
	out := &tfprotov5.SchemaBlock{}
	for name, a := range b.Attributes {
		t, err := tftypes.ParseJSONType(a.Type) //nolint:staticcheck // there is no other reader of this form
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out.Attributes = append(out.Attributes, &tfprotov5.SchemaAttribute{
			Name: name, Type: t, Required: a.Required, Optional: a.Optional, Computed: a.Computed,
			Sensitive: a.Sensitive, WriteOnly: a.WriteOnly, Deprecated: a.Deprecated,
		})
	}
	for name, n := range b.BlockTypes {
		inner, err := n.Block.convert()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		mode, ok := modes[n.NestingMode]
		if !ok {
			return nil, fmt.Errorf("%s: nesting mode %q is not known here", name, n.NestingMode)
		}
		out.BlockTypes = append(out.BlockTypes, &tfprotov5.SchemaNestedBlock{
			TypeName: name, Block: inner, Nesting: mode, MinItems: n.MinItems, MaxItems: n.MaxItems,
		})
	}
	return out, nil
}

// A provider answers what Terraform asks before it plans. The embedded interface
// is nil, so that anything further ends the process.
type provider struct {
	tfprotov5.ProviderServer
	schema *tfprotov5.GetProviderSchemaResponse
}

func (p provider) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	return &tfprotov5.GetMetadataResponse{ServerCapabilities: p.schema.ServerCapabilities}, nil
}

func (p provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return p.schema, nil
}

func (p provider) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (p provider) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (p provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (p provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}
