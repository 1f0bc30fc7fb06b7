package policy

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// parseDuration reads "30s", "1m30s", "250ms". A bare number is refused: it has
// no unit.
func parseDuration(text string) (Duration, string) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, `is not a duration: write a number with a unit, such as 250ms, 30s or 10m`
	}
	return Duration(d), ""
}

// String returns the duration as it is written in a document.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalYAML writes the duration like "30s".
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalYAML reads a duration like "30s". Decode does not come here: it
// reports all faults of a document, not the first.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	parsed, fault := parseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || fault != "" {
		return fmt.Errorf("line %d: %s", n.Line, fault)
	}
	*d = parsed
	return nil
}
