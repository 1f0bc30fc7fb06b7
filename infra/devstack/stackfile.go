package devstack

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/renameio/v2"

	"github.com/stampgate/stampgate/geo"
)

// A Stack says how to reach everything that runs: the content of stack.json.
// It holds keys and tokens, so the file is readable by its owner alone.
type Stack struct {
	PID int `json:"pid"` // of stampctl dev: SIGTERM to it stops the whole stack
	// CAFile is the certificate that clients of the gateways have to trust; empty
	// where the gateways speak plain http.
	CAFile       string                     `json:"caFile,omitempty"`
	ControlPlane ControlPlane               `json:"controlPlane"`
	Boundaries   map[geo.Boundary]*Endpoint `json:"boundaries"`
}

// A ControlPlane is the stack's control plane.
type ControlPlane struct {
	URL        string `json:"url"`
	AdminToken string `json:"adminToken"`
	PublicKey  string `json:"publicKey"` // of the key that signs policies
	PID        int    `json:"pid"`
}

// An Endpoint is one boundary of the stack.
type Endpoint struct {
	Etcd     []string  `json:"etcd"`
	Clients  []Client  `json:"clients"`
	Gateways []Gateway `json:"gateways"`
	Backends []Backend `json:"backends"`
}

// A Client may call the boundary's gateways.
type Client struct {
	Name   string   `json:"name"`
	Key    string   `json:"key"`
	Routes []string `json:"routes"`
}

// A Gateway is one gateway process.
type Gateway struct {
	Name       string       `json:"name"`
	Region     geo.RegionID `json:"region"`
	URL        string       `json:"url"`
	AdminURL   string       `json:"adminUrl"`
	AdminToken string       `json:"adminToken"`
	Gossip     string       `json:"gossip"`
	PID        int          `json:"pid"`
}

// A Backend is one simulated instance. All of them are one process.
type Backend struct {
	Name       string       `json:"name"`
	Region     geo.RegionID `json:"region"`
	URL        string       `json:"url"`
	ControlURL string       `json:"controlUrl"`
	PID        int          `json:"pid"`
}

// Load reads a stack file. The error wraps fs.ErrNotExist where no stack runs.
func Load(path string) (*Stack, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the stack file: %w", err)
	}
	var s Stack
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("read the stack file %s: %w", path, err)
	}
	return &s, nil
}

// writeJSON replaces a file whole, so that whoever waits for it never reads a
// half of it.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

// writeFile replaces a file whole, readable by its owner alone.
func writeFile(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
