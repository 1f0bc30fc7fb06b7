package gateway

import (
	"os"
	"testing"
)

// The example shows every limit at its default, which depends on the machine's
// memory. That it shows every other key is tested in infra/check.
func TestTheExampleShowsTheDefaultLimits(t *testing.T) {
	text, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Limits{}).withDefaults(0); cfg.Limits != want {
		t.Errorf("the example's limits are\n%+v, the defaults\n%+v", cfg.Limits, want)
	}
}
