// Package scorecard measures what a fault of a backend costs the clients of a
// gateway: for every class of fault, with one and with two of three targets
// faulty, and with all where that means something else, how many requests got the
// right answer, with how many calls and how much later, whether the faulty
// attracted more than their share, how soon they were used again afterwards, and
// whether anything left the boundary.
//
// The right answer is complete where another target can give it. Where the fault
// is the client's own, it is the backend's refusal, passed on as it came.
//
// It knows the gateway from outside only: its configuration file and its
// sockets. Each run has a fresh gateway and fresh simulated backends, so that
// runs are independent. It is for test machines; the command "loadtest
// scorecard" and tests use it.
package scorecard

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// A Gateway runs the gateway under test until ctx ends. The text is that of its
// configuration file; roots are what it trusts backends by; ready is to be told
// its URL once it serves.
type Gateway func(ctx context.Context, text []byte, roots *x509.CertPool, ready func(url string)) error

// Config says what to measure.
type Config struct {
	Gateway Gateway
	// Short is a form for every test run: fewer requests, fewer byte offsets.
	Short bool
	// Parallel is how many runs go on at once; 0: a number that fits two cores.
	Parallel int
	// Progress, if set, is called after each run, from one goroutine at a time.
	Progress func(done, of int)
}

// A Mode is the kind of answer that clients ask for.
type Mode string

// The modes.
const (
	Plain   Mode = "plain"
	Stream  Mode = "stream"
	Session Mode = "session" // by WebSocket
)

// targets of a route.
const targets = 3

// A Tally counts how requests ended.
type Tally struct {
	Requests int `json:"requests"`
	// Complete: the whole, correct answer came.
	Complete int `json:"complete"`
	// Honest: a stream that had begun ended with an error event and a broken
	// connection, so that nobody can take it for complete.
	Honest int `json:"honest"`
	// PassedOn: what the backend said came as it was, or the gateway's own 410 for
	// a model that is retired everywhere.
	PassedOn int `json:"passedOn"`
	// TimedOut: a 504 came where nothing may be repeated.
	TimedOut int `json:"timedOut"`
	// Attempts that the gateway says it made, and the most for one request.
	Attempts     int `json:"attempts"`
	MostAttempts int `json:"mostAttempts"`
	// Arrived is how many of them the backends saw, and the most for one request.
	Arrived     int `json:"arrived"`
	MostArrived int `json:"mostArrived"`
	// First is how many first attempts the faulty targets saw.
	First int `json:"first"`
	// Struck is how often a fault showed itself.
	Struck int `json:"struck"`
	// Outside counts connections to the instance outside the boundary, and
	// requests that came to the wrong instance.
	Outside int `json:"outside"`
}

// ExtraCalls is the number of attempts per request beyond the first.
func (t Tally) ExtraCalls() float64 {
	if t.Requests == 0 {
		return 0
	}
	return max(0, float64(t.Attempts)/float64(t.Requests)-1)
}

func (t Tally) plus(u Tally) Tally {
	return Tally{
		Requests: t.Requests + u.Requests, Complete: t.Complete + u.Complete, Honest: t.Honest + u.Honest,
		PassedOn: t.PassedOn + u.PassedOn, TimedOut: t.TimedOut + u.TimedOut,
		Attempts: t.Attempts + u.Attempts, MostAttempts: max(t.MostAttempts, u.MostAttempts),
		Arrived: t.Arrived + u.Arrived, MostArrived: max(t.MostArrived, u.MostArrived), First: t.First + u.First,
		Struck: t.Struck + u.Struck, Outside: t.Outside + u.Outside,
	}
}

// A Row is the result for one class of fault.
type Row struct {
	Fault  string `json:"fault"`
	Mode   Mode   `json:"mode"`
	Faulty int    `json:"faulty"` // of three targets
	Right  Right  `json:"right"`
	Tally
	// Back is how long after the fault's end all targets were used again; 0: it was
	// not measured.
	Back time.Duration `json:"backNanoseconds,omitempty"`
	// MedianAdded and MaxAdded are times to the first byte of the answer, above
	// the median of a healthy run.
	MedianAdded time.Duration `json:"medianAddedNanoseconds"`
	MaxAdded    time.Duration `json:"maxAddedNanoseconds"`
	// Problems are the requirements that were not met, in words.
	Problems []string `json:"problems,omitempty"`

	firstBytes []time.Duration
}

// A Card is a whole result.
type Card struct {
	Rows    []Row         `json:"rows"`
	Healthy map[Mode]Row  `json:"healthy"`
	Took    time.Duration `json:"tookNanoseconds"`
	Short   bool          `json:"short"`
}

// Err joins all problems; nil if every requirement is met.
func (c *Card) Err() error {
	var errs []error
	for _, r := range c.Rows {
		for _, p := range r.Problems {
			errs = append(errs, fmt.Errorf("%s, %s, %d of %d faulty: %s", r.Fault, r.Mode, r.Faulty, targets, p))
		}
	}
	return errors.Join(errs...)
}

// A job is one run: one variant of a fault in a stage of its own.
type job struct {
	row     int // -1: of the healthy run
	mode    Mode
	class   class
	variant variant
	faulty  int
	// comesBack: it is measured when targets are used again.
	comesBack bool
}

// Run measures every class. The error says what kept it from measuring; what was
// found wrong is in the card.
func Run(ctx context.Context, cfg Config) (*Card, error) {
	began := time.Now()
	healthy, err := measure(ctx)
	if err != nil {
		return nil, fmt.Errorf("measure a healthy answer: %w", err)
	}
	card := &Card{Healthy: map[Mode]Row{}, Short: cfg.Short}
	jobs := card.plan(classes(healthy, cfg.Short))
	if cfg.Short {
		jobs = thinned(jobs)
	}
	// Those that wait the longest begin first, or the rest would wait for them.
	slices.SortStableFunc(jobs, func(a, b job) int { return b.waits() - a.waits() })
	results := make([]Row, len(jobs))
	if err := runAll(ctx, cfg, healthy, jobs, results); err != nil {
		return nil, err
	}
	card.collect(jobs, results)
	card.Took = time.Since(began)
	return card, nil
}

// waits ranks jobs by how long they wait for timeouts and breakers.
func (j job) waits() int {
	switch {
	case j.class.few, j.class.crowded, j.mode == Session && j.faulty > 0:
		return 2
	case j.comesBack:
		return 1
	}
	return 0
}

// plan lays out the rows and the jobs that fill them.
func (c *Card) plan(all []class) []job {
	jobs := []job{{row: -1, mode: Plain}, {row: -1, mode: Stream}, {row: -1, mode: Session}}
	for _, cl := range all {
		if cl.modes == nil {
			cl.modes = []Mode{Plain, Stream}
		}
		if cl.faulty == nil {
			cl.faulty = []int{1, 2}
		}
		for _, mode := range cl.modes {
			for _, faulty := range cl.faulty {
				jobs = append(jobs, c.row(cl, mode, faulty)...)
			}
		}
	}
	return jobs
}

// row adds a row, if the class has any variant for it, and returns its jobs.
func (c *Card) row(cl class, mode Mode, faulty int) []job {
	var jobs []job
	var right Right
	for _, v := range cl.variants {
		if v.only != "" && v.only != mode {
			continue
		}
		j := job{row: len(c.Rows), mode: mode, class: cl, variant: v, faulty: faulty, comesBack: cl.back}
		jobs = append(jobs, j)
		if right != HonestEnd { // one variant that may end so speaks for the row
			right = j.rightAnswer()
		}
	}
	if len(jobs) > 0 {
		c.Rows = append(c.Rows, Row{Fault: cl.name, Mode: mode, Faulty: faulty, Right: right})
	}
	return jobs
}

// thinned is the plan's short form: of a class with many variants each runs with
// one number of faulty targets, in turn, and coming back is measured once a row,
// with the first number.
func thinned(jobs []job) []job {
	var out []job
	measured, place := map[int]bool{}, map[int]int{}
	for _, j := range jobs {
		numbers := len(j.class.faulty)
		if len(j.class.variants) > 2 && numbers > 1 && place[j.row]%numbers != slices.Index(j.class.faulty, j.faulty) {
			place[j.row]++
			continue
		}
		place[j.row]++
		j.comesBack = j.comesBack && !measured[j.row] && j.faulty == j.class.faulty[0]
		measured[j.row] = measured[j.row] || j.comesBack
		out = append(out, j)
	}
	return out
}

// runAll carries the jobs out, some at a time.
func runAll(ctx context.Context, cfg Config, healthy reference, jobs []job, results []Row) error {
	parallel := cfg.Parallel
	if parallel == 0 {
		parallel = 16 // most runs wait for a timeout most of the time
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	done := make(chan struct{})
	if cfg.Progress != nil {
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			n := 0
			for range done {
				n++
				cfg.Progress(n, len(jobs))
			}
		}()
		defer func() { close(done); <-finished }()
	}
	for n, j := range jobs {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var err error
			if results[n], err = carryOut(ctx, cfg, healthy, n, j); err != nil {
				return fmt.Errorf("%s (%s), %s, %d of %d faulty: %w", j.class.name, j.variant.fault, j.mode, j.faulty, targets, err)
			}
			if cfg.Progress != nil {
				done <- struct{}{}
			}
			return nil
		})
	}
	return group.Wait()
}

// collect adds the jobs' results up to rows and holds them against the healthy run.
func (c *Card) collect(jobs []job, results []Row) {
	for n, j := range jobs {
		if j.row < 0 {
			r := results[n]
			r.MedianAdded, r.MaxAdded = 0, 0
			c.Healthy[j.mode] = r
			continue
		}
		r := &c.Rows[j.row]
		r.Tally = r.plus(results[n].Tally)
		r.Back = max(r.Back, results[n].Back)
		r.firstBytes = append(r.firstBytes, results[n].firstBytes...)
		for _, p := range results[n].Problems {
			r.Problems = append(r.Problems, j.variant.fault+": "+p)
		}
	}
	for n := range c.Rows {
		r := &c.Rows[n]
		base := median(c.Healthy[r.Mode].firstBytes)
		r.MedianAdded = max(0, median(r.firstBytes)-base)
		r.MaxAdded = max(0, most(r.firstBytes)-base)
	}
}
