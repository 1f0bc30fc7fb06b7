package scorecard

import (
	"context"
	"fmt"
	"time"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// operation is the simulator's name for what the mode asks for. Faults strike no
// other, so that a gateway's own probes stay out of the count.
func (m Mode) operation() string {
	if m == Session {
		return "Realtime_Connect"
	}
	return "ChatCompletions_Create"
}

// faultFor reads the short form and limits it to the mode's operation, where a
// fault can know it.
func faultFor(text string, mode Mode) (azuresim.Fault, error) {
	f, err := azuresim.ParseFault(text)
	if err != nil {
		return f, err
	}
	limited := f
	limited.Operation = mode.operation()
	if limited.Validate() == nil {
		f = limited
	}
	return f, nil
}

// arrivals counts what the backends saw of requests since a record: attempts, the
// most for one request, and first attempts at the faulty targets. The gateway
// gives all attempts of a request the same id.
func (s *stage) arrivals(since uint64, mode Mode, faulty int) (t Tally) {
	isFaulty := map[string]bool{}
	for _, i := range s.inside[:faulty] {
		isFaulty[i.Name()] = true
	}
	attempts := map[string]int{}
	for _, r := range s.sim.Records() { // in the order of arrival
		if r.Sequence <= since || r.Operation != mode.operation() {
			continue
		}
		t.Arrived++
		id := r.Headers["x-request-id"]
		if attempts[id]++; attempts[id] == 1 && isFaulty[r.Instance] {
			t.First++
		}
		t.MostArrived = max(t.MostArrived, attempts[id])
	}
	return t
}

// lastRecord is the sequence number of the newest record.
func (s *stage) lastRecord() uint64 {
	all := s.sim.Records()
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Sequence
}

// comeBack ends the faults and asks until each target that was faulty is used
// again. It returns how long that took and what was wrong.
func (s *stage) comeBack(ctx context.Context, crowd *crowd, j job) (time.Duration, []string) {
	s.sim.ClearFaults()
	cleared, since := time.Now(), s.lastRecord()
	crowd.right = Complete
	for ctx.Err() == nil {
		crowd.ask(ctx, workers, 0)
		if s.answeredSince(since, j.mode, j.faulty) {
			break
		}
		if within := j.backWithin(); time.Since(cleared) > within {
			return 0, []string{fmt.Sprintf("a target is not used again %v after the fault's end", within)}
		}
		wait(ctx, 50*time.Millisecond)
	}
	took := time.Since(cleared)
	row := crowd.take()
	if lost := row.Requests - row.Complete; lost > 0 {
		return took, append([]string{fmt.Sprintf("%d of %d requests were lost after the fault's end", lost, row.Requests)}, row.Problems...)
	}
	return took, nil
}

// answeredSince tells whether each of the first targets has answered a request
// that came after a record.
func (s *stage) answeredSince(since uint64, mode Mode, faulty int) bool {
	for _, i := range s.inside[:faulty] {
		answered := false
		for _, r := range i.RecordsSince(since) {
			answered = answered || r.Operation == mode.operation() && r.HeadersSent && len(r.Faults) == 0
		}
		if !answered {
			return false
		}
	}
	return true
}
