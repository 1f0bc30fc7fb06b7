// Package scorecard measures what a fault of a backend costs the clients of a
// gateway: for every class of fault, with one and with two of three targets
// faulty, how many requests were answered all the same, with how many calls and
// how much later, and whether anything left the boundary.
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
	Plain  Mode = "plain"
	Stream Mode = "stream"
)

// targets of the route; the last one is never faulty.
const targets = 3

// A Tally counts how requests ended.
type Tally struct {
	Requests int `json:"requests"`
	// Complete: the whole, correct answer came.
	Complete int `json:"complete"`
	// Honest: a stream that had begun ended with an error event and a broken
	// connection, so that nobody can take it for complete.
	Honest int `json:"honest"`
	// Attempts that the gateway says it made.
	Attempts int `json:"attempts"`
	// Arrived is how many requests the backends saw.
	Arrived int `json:"arrived"`
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
		Attempts: t.Attempts + u.Attempts, Arrived: t.Arrived + u.Arrived,
		Struck: t.Struck + u.Struck, Outside: t.Outside + u.Outside,
	}
}

// A Row is the result for one class of fault.
type Row struct {
	Fault  string `json:"fault"`
	Mode   Mode   `json:"mode"`
	Faulty int    `json:"faulty"` // of three targets
	Tally
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
	results := make([]Row, len(jobs))
	if err := runAll(ctx, cfg, healthy, jobs, results); err != nil {
		return nil, err
	}
	card.collect(jobs, results)
	card.Took = time.Since(began)
	return card, nil
}

// plan lays out the rows and the jobs that fill them.
func (c *Card) plan(all []class) []job {
	jobs := []job{{row: -1, mode: Plain}, {row: -1, mode: Stream}}
	for _, cl := range all {
		for _, mode := range [...]Mode{Plain, Stream} {
			for faulty := 1; faulty < targets; faulty++ {
				before := len(jobs)
				for _, v := range cl.variants {
					if v.only == "" || v.only == mode {
						jobs = append(jobs, job{len(c.Rows), mode, cl, v, faulty})
					}
				}
				if len(jobs) > before {
					c.Rows = append(c.Rows, Row{Fault: cl.name, Mode: mode, Faulty: faulty})
				}
			}
		}
	}
	return jobs
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

// problems are the requirements that a run did not meet.
func (j job) problems(t Tally) []string {
	var p []string
	say := func(format string, args ...any) { p = append(p, fmt.Sprintf(format, args...)) }
	if t.Outside > 0 {
		say("%d calls outside the boundary", t.Outside)
	}
	if lost := t.Requests - t.Complete - t.Honest; lost > 0 {
		say("%d of %d requests were neither answered nor ended honestly", lost, t.Requests)
	}
	if (j.mode == Plain || !j.variant.midStream) && t.Honest > 0 {
		say("%d of %d requests were broken off, although the fault came before the first byte", t.Honest, t.Requests)
	}
	if j.faulty > 0 && t.Struck == 0 {
		say("the fault never struck")
	}
	return p
}
