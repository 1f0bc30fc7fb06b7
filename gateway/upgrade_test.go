package gateway_test

import (
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway"
)

// New code runs with the last release's files: the configuration of the first one,
// with every setting that it had, is read and means the same.
func TestTheConfigurationOfTheFirstReleaseIsRead(t *testing.T) {
	cfg, err := gateway.LoadConfig("testdata/v1/gateway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.Boundary != "eu" || cfg.Region != "swedencentral" || cfg.Zone != "1" || cfg.Admin.TokenFile == "" || len(cfg.Residency.Countries) != 5 ||
		len(cfg.Residency.DataZones["EU"]) != 5 || !cfg.Residency.RequirePrivateAddresses || cfg.Policy.Etcd.CAFile == "" ||
		len(cfg.Policy.TrustedKeys) != 1 || cfg.Policy.AcceptOlder != 6 || !cfg.Gossip.TCPOnly || len(cfg.FrontDoor.IDs) != 1 ||
		cfg.Seal.KeyFile == "" || time.Duration(cfg.Drain.Notice) != 20*time.Second || !cfg.HTTP2 || cfg.Limits.Held != 512<<20 ||
		time.Duration(cfg.Limits.WriteTimeout) != time.Minute {
		t.Errorf("%+v", cfg)
	}
}
