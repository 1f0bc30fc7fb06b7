//go:build linux

package processtest

import (
	"flag"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// stopFor is how long a gateway is stopped. A machine that is paused for a
// migration takes half a minute; the default keeps the tests short and is long
// enough for the peers to notice.
var stopFor = flag.Duration("stop", 30*time.Second, "how long SIGSTOP lasts")

// P3: kill -9 of a gateway, and a gateway that stands still, are nothing that
// the others' requests notice. Peers notice both. The killed gateway comes back
// as a new member, the stopped one as the member that it was.
func TestKilledAndStopped(t *testing.T) {
	const tokens = 20
	s := startStamp(t, stampOptions{
		Options: e2e.Options{Gateways: 3, Latency: azuresim.Latency{PerToken: 10 * time.Millisecond, Tokens: tokens}},
		notice:  100 * time.Millisecond, timeout: 10 * time.Second,
	})
	loads := map[*process]*load{}
	for _, p := range s.processes {
		l := newLoad(t, s, func() *process { return p })
		l.run(2, plainCall())
		l.run(2, streamCall(tokens))
		loads[p] = l
	}
	bystander, killed, stopped := s.processes[0], s.processes[1], s.processes[2]
	grows := func(of *process, by int) {
		t.Helper()
		before := loads[of].total()
		e2e.Await(t, "calls at "+of.name, func() bool { return loads[of].total() >= before+by })
	}
	for _, p := range s.processes {
		grows(p, 10)
	}

	boot := bystander.members()[killed.name]
	began := time.Now()
	killed.signal(syscall.SIGKILL)
	_ = killed.awaitExit() // "signal: killed"
	for _, p := range []*process{bystander, stopped} {
		s.awaitMembers(p, 2)
		grows(p, 10)
	}
	t.Logf("peers noticed kill -9 after %v", time.Since(began).Round(time.Millisecond))
	killed.start()
	killed.awaitReady()
	for _, p := range s.processes {
		s.awaitMembers(p, 3)
	}
	if again := bystander.members()[killed.name]; again == boot || again == "" {
		t.Errorf("after its restart %s is the member %q, before it was %q", killed.name, again, boot)
	}
	grows(killed, 10)

	boot = bystander.members()[stopped.name]
	pid := stopped.cmd.Process.Pid
	began = time.Now()
	stopped.signal(syscall.SIGSTOP)
	for _, p := range []*process{bystander, killed} {
		s.awaitMembers(p, 2)
	}
	t.Logf("peers noticed SIGSTOP after %v", time.Since(began).Round(time.Millisecond))
	for time.Since(began) < *stopFor {
		grows(bystander, 10)
		grows(killed, 10)
	}
	stopped.signal(syscall.SIGCONT)
	began = time.Now()
	for _, p := range s.processes {
		s.awaitMembers(p, 3)
	}
	e2e.Await(t, "the stopped gateway is ready", func() bool { return stopped.health("/health/ready") == http.StatusOK })
	t.Logf("after SIGCONT all know each other again after %v", time.Since(began).Round(time.Millisecond))
	if again := bystander.members()[stopped.name]; again != boot || stopped.cmd.Process.Pid != pid {
		t.Errorf("%s came back as %q, was %q", stopped.name, again, boot)
	}
	grows(stopped, 10)

	for p, l := range loads {
		l.end()
		if f := l.failures(killed, stopped); len(f) > 0 {
			t.Errorf("%s: %d of %d requests failed; the first: %v", p.name, len(f), len(f)+l.total(), f[:min(len(f), 5)])
		}
		t.Logf("%s: %v without failure, %d failed", p.name, l.done, len(l.failures()))
	}
	if f := loads[stopped].failures(); len(f) > 0 {
		t.Logf("on the stopped gateway: %v", f[:min(len(f), 5)])
	}
}
