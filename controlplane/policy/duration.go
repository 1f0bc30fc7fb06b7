package policy

import (
	"time"

	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// String returns the duration as it is written in a document.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the duration like "30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration like "30s".
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := strictyaml.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}
