package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/controlplane/client"
)

func TestStatusMarksGatewaysThatAreStaleOrRefuse(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	b := client.BoundaryStatus{
		Boundary: "eu", Reachable: true,
		Policy: &client.Publication{Serial: 7, Digest: "0123456789abcdef", Author: "alice", Message: "add france", Time: at, Genuine: true},
		Gateways: []client.Gateway{
			{Name: "eu-swc-1", Region: "swedencentral", AppliedSerial: 7, Current: true, Health: "pass"},
			{Name: "eu-swc-2", Region: "swedencentral", AppliedSerial: 5, Health: "pass"},
			{Name: "eu-swc-3", Region: "swedencentral", AppliedSerial: 6, RefusedSerial: 7, RefusedReason: "the signature is not\nof a trusted key", Health: "warn"},
			{Name: "eu-weu-1", Region: "westeurope", Health: "fail"},
			{Name: "eu-weu-2", Region: "westeurope", AppliedSerial: 7, Current: true, Health: "fail", Draining: true},
			{Name: "eu-weu-3", Region: "westeurope", AppliedSerial: 8, Health: "pass"},
			{Name: "eu-weu-4", Region: "westeurope", AppliedSerial: 7, Current: true, Health: "fail"},
		},
		Orders: []client.Order{
			{Kind: "gateway", Name: "eu-weu-2", Expires: at, Author: "bob", Reason: "new disk \x1b[31m", Genuine: true},
			{Kind: "backend", Name: "x", Expires: at},
		},
	}
	want := `
boundary eu: policy 7 (0123456789ab), by alice at 2026-05-04 03:02:01Z: add france
  GATEWAY   REGION         POLICY  HEALTH  STATE
  eu-swc-1  swedencentral  7       pass    -
! eu-swc-2  swedencentral  5       pass    stale: 2 behind
! eu-swc-3  swedencentral  6       warn    refused policy 7: the signature is not of a trusted key; stale: 1 behind
! eu-weu-1  westeurope     none    fail    follows no policy
  eu-weu-2  westeurope     7       fail    draining
! eu-weu-3  westeurope     8       pass    ahead of the store: was its etcd restored from a backup?
! eu-weu-4  westeurope     7       fail    -
! 5 of 7 gateways need a look
drained
  KIND     NAME      UNTIL                 BY   REASON
  gateway  eu-weu-2  2026-05-04 03:02:01Z  bob  new disk  [31m
  backend  x         2026-05-04 03:02:01Z  -    ! NOT GENUINE, gateways ignore it: -
`
	var got strings.Builder
	writeStatus(&got, b)
	if got.String() != want[1:] {
		t.Errorf("status:\n%s\nwant:\n%s", got.String(), want[1:])
	}
}

func TestStatusSaysWhatIsWrongWithABoundary(t *testing.T) {
	for name, c := range map[string]struct {
		status client.BoundaryStatus
		want   string
	}{
		"etcd away":       {client.BoundaryStatus{Boundary: "eu", Problem: "no leader"}, "boundary eu: ! its etcd cannot be reached: no leader"},
		"nothing yet":     {client.BoundaryStatus{Boundary: "eu", Reachable: true}, "boundary eu: no policy was published yet\nno gateway is there"},
		"damaged":         {client.BoundaryStatus{Boundary: "eu", Reachable: true, Problem: "malformed value"}, "boundary eu: ! malformed value"},
		"not ours at all": {client.BoundaryStatus{Boundary: "eu", Reachable: true, Policy: &client.Publication{Serial: 3, Problem: "bad signature"}}, "! policy 3 is not genuine (bad signature)"},
	} {
		var got strings.Builder
		writeStatus(&got, c.status)
		if !strings.Contains(got.String(), c.want) {
			t.Errorf("%s:\n%s\nwant %q in it", name, got.String(), c.want)
		}
	}
}

func TestTablesAlignWhateverTheCharacters(t *testing.T) {
	table := newTable("A", "B", "C")
	table.add("köln", "x", "1")
	table.add("a", "längeres", "2")
	var got strings.Builder
	table.write(&got)
	want := "A     B         C\nköln  x         1\na     längeres  2\n"
	if got.String() != want {
		t.Errorf("table:\n%s\nwant:\n%s", got.String(), want)
	}
}

func TestADrainedBackendIsExplained(t *testing.T) {
	source := []byte(`
boundary: eu
residency: {countries: [SE, NL, IE]}
stamps:
  - {region: swedencentral, fallback: [westeurope]}
  - {region: westeurope, fallback: [swedencentral]}
backends:
  - {name: swc, region: swedencentral, endpoint: https://swc.openai.azure.com, credential: {managedIdentity: {}},
     deployments: [{name: d, model: gpt-5.4, version: "1", sku: Standard}]}
  - {name: weu, region: westeurope, endpoint: https://weu.openai.azure.com, credential: {managedIdentity: {}},
     deployments: [{name: d, model: gpt-5.4, version: "1", sku: Standard}]}
routes: [{name: gpt-5.4, model: gpt-5.4, version: "1"}]
clients: [{name: payroll, keys: [{sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}], routes: [gpt-5.4]}]
`)
	ask := func(out ...drained) *explanation {
		t.Helper()
		doc, snap := mustCompile(t, source)
		e, err := explain(doc, snap, question{Region: "swedencentral", Client: "payroll", Route: "gpt-5.4"}, out)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if e := ask(); len(e.Targets) != 2 || len(e.Excluded) != 0 {
		t.Fatalf("undisturbed: %+v", e)
	}
	e := ask(drained{Kind: "backend", Name: "swc", Reason: "key rotation"})
	if len(e.Targets) != 1 || e.Targets[0].Backend != "weu" || e.Targets[0].Tier != 1 {
		t.Errorf("backend drained: targets %+v", e.Targets)
	}
	if len(e.Excluded) != 1 || e.Excluded[0].Reason != "backend swc is drained: key rotation" {
		t.Errorf("backend drained: excluded %+v", e.Excluded)
	}
	// "it still serves what arrives, and other stamps stop using its backends"
	if e := ask(drained{Kind: "region", Name: "swedencentral"}); len(e.Targets) != 2 {
		t.Errorf("own region drained: targets %+v", e.Targets)
	}
	if e := ask(drained{Kind: "region", Name: "westeurope"}); len(e.Targets) != 1 || e.Targets[0].Backend != "swc" {
		t.Errorf("fallback region drained: targets %+v", e.Targets)
	}
	e = ask(drained{Kind: "backend", Name: "swc"}, drained{Kind: "backend", Name: "weu"})
	if len(e.Targets) != 0 || len(e.Notes) != 1 || !strings.Contains(e.Notes[0], "503 no_backend_in_boundary") {
		t.Errorf("all drained: %+v", e)
	}
}
