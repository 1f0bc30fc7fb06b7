package membership_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stampgate/stampgate/stamp/membership/membertest"
)

var (
	update = flag.Bool("update", false, "simulate the stamps of -sizes and write their rows into CONVERGENCE.md")
	sizes  = flag.String("sizes", "3,10,20,50,100,200,500", "numbers of gateways that -update simulates")
)

// TestConvergence simulates two small stamps, and with -update those whose
// figures CONVERGENCE.md shows.
func TestConvergence(t *testing.T) {
	list := []string{"3", "10"}
	rows := make(map[[2]int]string) // by gateways and loss in percent
	if *update {
		list = strings.Split(*sizes, ",")
		rows = readRows(t)
	}
	for _, size := range list {
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(err)
		}
		for _, loss := range []int{0, 10, 30} {
			if loss != 10 && (!*update || n > 100) {
				continue
			}
			bubble(t, fmt.Sprintf("%d gateways, %d%% lost", n, loss), func(t *testing.T) {
				rows[[2]int{n, loss}] = simulate(t, n, loss)
			})
		}
	}
	if *update && !t.Failed() {
		writeRows(t, rows)
	}
}

func simulate(t *testing.T, n, loss int) (row string) {
	r := membertest.Simulate(t, membertest.Simulation{
		Gateways: n, Loss: float64(loss) / 100, Urgent: 10, Payload: 200, Seed: uint64(n),
	})
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	row = fmt.Sprintf("| %d | %d %% | %v | %v | %v | %v | %.1f | %.1f | %d |",
		n, loss, ms(r.Whole), ms(r.P50), ms(r.P99), ms(r.Max), r.IdleBytes/1000, r.BusyBytes/1000, r.StateBytes/n)
	t.Log(row)
	if want := 10 * (n - 1); r.Deliveries != want {
		t.Errorf("%d deliveries, want %d", r.Deliveries, want)
	}
	if n <= 20 && r.P99 > time.Second {
		t.Errorf("p99 = %v", r.P99)
	}
	return row
}

const convergence = "CONVERGENCE.md"

// readRows keeps the rows of stamps that are not simulated this time.
func readRows(t *testing.T) map[[2]int]string {
	b, err := os.ReadFile(convergence)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	rows := make(map[[2]int]string)
	for line := range strings.Lines(string(b)) {
		var n, loss int
		if _, err := fmt.Sscanf(line, "| %d | %d %%", &n, &loss); err == nil {
			rows[[2]int{n, loss}] = strings.TrimSpace(line)
		}
	}
	return rows
}

func writeRows(t *testing.T, rows map[[2]int]string) {
	var text strings.Builder
	text.WriteString(convergenceHead)
	keys := slices.SortedFunc(maps.Keys(rows), func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	for _, k := range keys {
		text.WriteString(rows[k] + "\n")
	}
	if err := os.WriteFile(convergence, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

const convergenceHead = `# How fast a stamp agrees, and what it costs

Written by ` + "`go test ./stamp/membership -run TestConvergence -update -timeout 2h`" + `: real gossip on an in-memory
network in virtual time, 1 ms from end to end, the given share of packets lost. Each gateway broadcasts payloads of 200
bytes, as reports of 8 targets of 2 backends are. *Whole*: all gateways start at once; until all see all. *Urgent*: ten
times one gateway broadcasts something urgent; until a peer has it, over all peers. *Idle* and *busy*: kB sent per second
by each gateway while nothing happens, and while the routine payload of each changes twice a second. *Message*: bytes,
signature included. Not modelled: full buffers, bandwidth, processes that stall. Headers of UDP, TCP and IP come on top.
*Idle* begins a minute after the start; in a stamp of 500 the start itself is still being told then. 500 gateways take
five minutes of a processor: ` + "`-sizes 3,20`" + ` simulates those two and keeps the other rows.

| gateways | loss | whole | urgent p50 | p99 | max | idle kB/s | busy kB/s | message |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|
`
