package membership_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

var update = flag.Bool("update", false, "simulate large stamps and write CONVERGENCE.md")

// TestConvergence simulates small stamps, and with -update the large ones whose
// figures CONVERGENCE.md shows.
func TestConvergence(t *testing.T) {
	sizes := []int{3, 10}
	if *update {
		sizes = []int{3, 10, 20, 50, 100, 200, 500}
	}
	var table strings.Builder
	for _, n := range sizes {
		for _, loss := range []float64{0, 0.1, 0.3} {
			if !*update && loss != 0.1 {
				continue
			}
			bubble(t, fmt.Sprintf("%d gateways, %.0f%% lost", n, loss*100), func(t *testing.T) {
				r := membertest.Simulate(t, membertest.Simulation{Gateways: n, Loss: loss, Verdicts: 10, Targets: 8, Seed: uint64(n)})
				ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
				line := fmt.Sprintf("| %d | %.0f %% | %v | %v | %v | %v | %.1f | %.1f | %d |\n",
					n, loss*100, ms(r.Whole), ms(r.P50), ms(r.P99), ms(r.Max), r.IdleBytes/1000, r.BusyBytes/1000, r.ReportBytes/n)
				t.Log(line)
				table.WriteString(line)
				if want := 10 * (n - 1); r.Deliveries != want {
					t.Errorf("%d deliveries, want %d", r.Deliveries, want)
				}
				if n <= 20 && r.P99 > time.Second {
					t.Errorf("p99 = %v", r.P99)
				}
			})
		}
	}
	if *update && !t.Failed() {
		if err := os.WriteFile("CONVERGENCE.md", []byte(convergenceHead+table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const convergenceHead = `# How fast a stamp agrees, and what it costs

Written by ` + "`go test ./stamp/membership -run TestConvergence -update -timeout 30m`" + `: real gossip on an
in-memory network in virtual time, 1 ms from end to end, the given share of packets lost. Each gateway reports on
8 targets of 2 backends. *Whole*: all gateways start at once; until all see all. *Verdict*: ten times one gateway
gates a target; until a peer knows, over all peers. *Idle* and *busy*: kB sent per second by each gateway while
nothing happens, and while the load of every target changes twice a second. *Report*: bytes, signature included.
Not modelled: full buffers, bandwidth, processes that stall. Headers of UDP, TCP and IP come on top.

| gateways | loss | whole | verdict p50 | p99 | max | idle kB/s | busy kB/s | report |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`
