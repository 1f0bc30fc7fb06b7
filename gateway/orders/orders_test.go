package orders_test

import (
	"testing"

	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/orders"
	"github.com/stampgate/stampgate/gateway/targets"
)

func TestWhatAnOrderDrains(t *testing.T) {
	for _, c := range []struct {
		name            string
		order           store.Order
		gateway, region bool
	}{
		{"this gateway", store.Order{Action: store.Drain, Kind: store.GatewayOrder, Name: "g1"}, true, false},
		{"another gateway", store.Order{Action: store.Drain, Kind: store.GatewayOrder, Name: "g2"}, false, false},
		{"this region", store.Order{Action: store.Drain, Kind: store.RegionOrder, Name: "swedencentral"}, false, true},
		{"another region", store.Order{Action: store.Drain, Kind: store.RegionOrder, Name: "westeurope"}, false, false},
		{"a backend of the gateway's name", store.Order{Action: store.Drain, Kind: store.BackendOrder, Name: "g1"}, false, false},
		{"an action of a later version", store.Order{Action: "pause", Kind: store.GatewayOrder, Name: "g1"}, false, false},
	} {
		d := orders.New("g1", "swedencentral", targets.New("swedencentral"))
		d.Take([]store.Order{c.order})
		if d.Gateway() != c.gateway || d.Region() != c.region {
			t.Errorf("%s: gateway %t, region %t", c.name, d.Gateway(), d.Region())
		}
		d.Take(nil)
		if d.Gateway() || d.Region() {
			t.Errorf("%s: still drained when the order is over", c.name)
		}
		d.Stop()
		d.Take(nil)
		if !d.Gateway() {
			t.Errorf("%s: orders end a stop", c.name)
		}
	}
}
