package scorecard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// The sizes of a run.
const (
	workers       = 4 // that ask at the same time, half of them as each client
	warmUp        = 8 // requests before a fault that is not there from the start
	requests      = 200
	fewRequests   = 48
	shortRequests = 16
	fewShort      = 8
	// The sizes of crowded runs.
	crowdWorkers  = 12
	crowdRequests = 240
	crowdTakes    = 250 * time.Millisecond // until a healthy answer's first byte
	// pace is the pause of a worker in the long form: the run then outlasts the
	// time for which a gateway avoids a target that has failed.
	pace = 120 * time.Millisecond
	// patienceFactor is how many times the requests a run may take until the fault
	// has struck: which target is asked is partly chance.
	patienceFactor = 20
)

// A reference is what a healthy answer looks like.
type reference struct {
	text                    string
	plainBytes, streamBytes int
	opening                 int // bytes of a stream before the end of its first meaningful event
	// refusals are what an instance says for faults that are to be passed on.
	refusals map[refused]answer
}

// refused names a refusal: the bytes depend on both.
type refused struct {
	fault string
	mode  Mode
}

// measure asks a healthy instance itself.
func measure(ctx context.Context) (reference, error) {
	var ref reference
	s := &stage{ended: make(chan error, 1)}
	s.ended <- nil
	ctx, s.cancel = context.WithCancel(ctx)
	if err := s.startSim(ctx, layout{number: 0}); err != nil {
		return ref, errors.Join(err, s.stop())
	}
	c := newClient("backend-key")
	defer c.close()
	url := s.inside[0].URL()
	plain, stream, session := c.ask(ctx, url, Plain), c.ask(ctx, url, Stream), c.ask(ctx, url, Session)
	refusals := refusalsOf(ctx, c, url)
	if err := s.stop(); err != nil {
		return ref, err
	}
	if !session.complete || session.text != spoken {
		return ref, fmt.Errorf("a healthy instance's session: %d %q, %w", session.status, session.raw, session.err)
	}
	if !plain.complete || !stream.complete || plain.text == "" || plain.text != stream.text {
		return ref, fmt.Errorf("a healthy instance answered %d %q and %d %q", plain.status, plain.raw, stream.status, stream.raw)
	}
	return reference{
		text: plain.text, plainBytes: len(plain.raw), streamBytes: len(stream.raw), opening: opening(stream.raw), refusals: refusals,
	}, nil
}

// refusalsOf asks an instance for each refusal that is to be passed on.
func refusalsOf(ctx context.Context, c *client, url string) map[refused]answer {
	all := map[refused]answer{}
	for _, j := range new(Card).plan(classes(reference{}, true)) {
		if j.rightAnswer() != PassedOn {
			continue
		}
		c.header = http.Header{"X-Sim-Fault": {j.variant.fault}}
		all[refused{j.variant.fault, j.mode}] = c.ask(ctx, url, j.mode)
	}
	return all
}

// textOf is what a complete answer says.
func (r reference) textOf(mode Mode) string {
	if mode == Session {
		return spoken
	}
	return r.text
}

// carryOut does one job on a stage of its own.
func carryOut(ctx context.Context, cfg Config, healthy reference, number int, j job) (Row, error) {
	l := layout{number: number + 1, tls: j.class.tls}
	if j.class.regions {
		l.passive = targets - j.faulty
	}
	s, err := start(ctx, cfg.Gateway, l)
	if err != nil {
		return Row{}, err
	}
	row, err := s.play(ctx, cfg, healthy, j)
	return row, errors.Join(err, s.stop())
}

// play warms the gateway up, sets the fault and asks.
func (s *stage) play(ctx context.Context, cfg Config, healthy reference, j job) (Row, error) {
	crowd := newCrowd(s, healthy, j)
	defer crowd.close()
	if j.class.crowded {
		for _, i := range s.inside {
			if err := i.SetLatency(azuresim.Latency{FirstToken: crowdTakes, Tokens: answerTokens}); err != nil {
				return Row{}, err
			}
		}
	}
	if !j.class.early {
		crowd.ask(ctx, warmUp, 0)
		if t := crowd.take().Tally; t.Complete != warmUp {
			return Row{}, fmt.Errorf("before the fault, %d of %d requests were answered", t.Complete, warmUp)
		}
	}
	before := s.lastRecord()
	if err := s.setFaults(j); err != nil {
		return Row{}, err
	}
	n, pause := j.size(cfg.Short)
	crowd.ask(ctx, n, pause)
	for asked := n; j.faulty > 0 && s.struck(j.faulty) == 0 && asked < n*patienceFactor && ctx.Err() == nil; asked += workers {
		crowd.ask(ctx, workers, pause)
	}
	row := crowd.take()
	if j.class.crowded {
		for k := range row.firstBytes { // what the load adds is no cost of the fault
			row.firstBytes[k] = max(0, row.firstBytes[k]-crowdTakes+answerTakes)
		}
	}
	row.Fault, row.Mode, row.Faulty = j.class.name, j.mode, j.faulty
	row.Struck, row.Outside = s.struck(j.faulty), s.stray()
	seen := s.arrivals(before, j.mode, j.faulty)
	row.Arrived, row.First, row.MostArrived = seen.Arrived, seen.First, seen.MostArrived
	row.Problems = append(j.problems(row.Tally), row.Problems...)
	if j.comesBack {
		var problems []string
		row.Back, problems = s.comeBack(ctx, crowd, j)
		row.Problems = append(row.Problems, problems...)
	}
	return row, ctx.Err()
}

// size is how many requests a run has, and the pause of a worker between two.
func (j job) size(short bool) (n int, pause time.Duration) {
	switch {
	case j.class.crowded:
		return crowdRequests, 0
	case short && j.class.few:
		return fewShort, 0
	case short:
		return shortRequests, 0
	case j.class.few:
		return fewRequests, pace
	}
	return requests, pace
}

// setFaults makes the first targets faulty.
func (s *stage) setFaults(j job) error {
	if j.faulty == 0 {
		return nil
	}
	fault, err := faultFor(j.variant.fault, j.mode)
	if err != nil {
		return err
	}
	for _, i := range s.inside[:j.faulty] {
		if err := i.SetFault(fault); err != nil {
			return err
		}
	}
	return nil
}

// struck is how often faults showed themselves on the first targets.
func (s *stage) struck(faulty int) (n int) {
	for _, i := range s.inside[:faulty] {
		for _, f := range i.Faults() {
			n += int(f.Fired)
		}
	}
	return n
}

// A crowd is the clients of a stage.
type crowd struct {
	stage   *stage
	mode    Mode
	right   Right
	text    string // of a complete answer
	refusal answer // that is to be passed on
	clients []*client
	workers int

	mu  sync.Mutex // guards row
	row Row
}

func newCrowd(s *stage, healthy reference, j job) *crowd {
	c := &crowd{
		stage: s, mode: j.mode, right: j.rightAnswer(), text: healthy.textOf(j.mode),
		refusal: healthy.refusals[refused{j.variant.fault, j.mode}], workers: workers,
	}
	if j.class.crowded {
		c.workers = crowdWorkers
	}
	for _, key := range s.keys {
		c.clients = append(c.clients, newClient(key))
	}
	return c
}

func (c *crowd) close() {
	for _, cl := range c.clients {
		cl.close()
	}
}

// ask has the workers send n requests in all.
func (c *crowd) ask(ctx context.Context, n int, pause time.Duration) {
	var wg sync.WaitGroup
	for w := range c.workers {
		wg.Go(func() {
			for k := w; k < n && ctx.Err() == nil; k += c.workers {
				c.count(c.clients[w%len(c.clients)].ask(ctx, c.stage.url, c.mode))
				if pause > 0 {
					wait(ctx, pause)
				}
			}
		})
	}
	wg.Wait()
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// examples is how many unexpected answers are described.
const examples = 2

func (c *crowd) count(a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.row
	r.Requests++
	r.Attempts += a.attempts
	r.MostAttempts = max(r.MostAttempts, a.attempts)
	if !r.judge(a, c.right, c.text, c.refusal) && len(r.Problems) < examples {
		r.Problems = append(r.Problems, fmt.Sprintf("for example: status %d, error %v, %d bytes ending in %q", a.status, a.err, len(a.raw), a.raw[max(0, len(a.raw)-120):]))
	}
	if a.firstByte > 0 {
		r.firstBytes = append(r.firstBytes, a.firstByte)
	}
}

// take returns what was counted and begins anew.
func (c *crowd) take() Row {
	c.mu.Lock()
	defer c.mu.Unlock()
	row := c.row
	c.row = Row{}
	return row
}

func median(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}

func most(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return slices.Max(d)
}
