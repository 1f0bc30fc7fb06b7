//go:build linux

package processtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A balancer does what a region's load balancer does: it asks each gateway
// whether it is ready, and sends new requests to those that are, in turn. It
// never repeats a request.
type balancer struct {
	all   []*process
	ready []atomic.Bool
	next  atomic.Uint64
}

// probeEvery is how often the balancer asks. The notice of a drain must be
// longer, as an operator has to arrange it.
const probeEvery = 100 * time.Millisecond

func startBalancer(t *testing.T, all []*process) *balancer {
	t.Helper()
	b := &balancer{all: all, ready: make([]atomic.Bool, len(all))}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for i, p := range all {
		b.ready[i].Store(p.health("/health/ready") == http.StatusOK)
		wg.Go(func() {
			tick := time.NewTicker(probeEvery)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					b.ready[i].Store(p.health("/health/ready") == http.StatusOK)
				}
			}
		})
	}
	return b
}

// pick returns the gateway of the next request, nil if none is ready.
func (b *balancer) pick() *process {
	for range b.all {
		i := int(b.next.Add(1)) % len(b.all)
		if b.ready[i].Load() {
			return b.all[i]
		}
	}
	return nil
}

// sendsTo reports whether the balancer sends requests to the gateway.
func (b *balancer) sendsTo(p *process) bool {
	for i := range b.all {
		if b.all[i] == p {
			return b.ready[i].Load()
		}
	}
	return false
}

// Load is requests that run all the time, by several callers.
type load struct {
	key    string
	client *http.Client
	pick   func() *process
	stop   chan struct{}
	wg     sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	done      map[string]int
	failed    map[*process][]string
	protocols map[string]int
}

// A call is one kind of request.
type call struct {
	kind, path, body string
	stream           bool
	tokens           int // that a stream must bring
}

func plainCall() call {
	return call{kind: "plain", path: "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", body: `{"messages":[{"role":"user","content":"Say hello."}]}`}
}

func streamCall(tokens int) call {
	c := plainCall()
	c.kind, c.stream, c.tokens = "stream", true, tokens
	c.body = `{"stream":true,"messages":[{"role":"user","content":"Say hello."}]}`
	return c
}

func embedCall() call {
	return call{kind: "embedding", path: "/openai/v1/embeddings", body: `{"model":"text-embedding-3-large","input":"hello"}`}
}

func newLoad(t *testing.T, s *stamp, pick func() *process) *load {
	return &load{
		key: s.Key, client: newClient(t, s.CAFile), pick: pick, stop: make(chan struct{}),
		done: map[string]int{}, failed: map[*process][]string{}, protocols: map[string]int{},
	}
}

// run starts callers that make one call after another until end.
func (l *load) run(callers int, c call) {
	for range callers {
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				l.one(c)
			}
		})
	}
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

func (l *load) one(c call) {
	p, err := l.pick(), errors.New("no gateway is ready")
	if p != nil {
		err = l.do(p, c)
	}
	l.count(p, c, err)
	time.Sleep(think)
}

// think is how long a caller waits between two calls: the machine has few cores.
const think = 10 * time.Millisecond

// newRequest makes the call's request, which no transport repeats behind our back.
func newRequest(ctx context.Context, p *process, key string, c call) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+c.path, strings.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("api-key", key)
	return req, nil
}

func (l *load) do(p *process, c call) error {
	req, err := newRequest(context.Background(), p, l.key, c)
	if err != nil {
		return err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	l.mu.Lock()
	l.protocols[resp.Proto]++
	l.mu.Unlock()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	if c.stream {
		events, err := events(resp.Body)
		if err == nil && events < c.tokens {
			err = fmt.Errorf("a stream of %d events, want at least %d", events, c.tokens)
		}
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// events reads a stream to its end. One without its last event, or with an
// error event, is an error.
func events(r io.Reader) (n int, err error) {
	lines := bufio.NewScanner(r)
	done := false
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		switch {
		case !ok:
		case data == "[DONE]":
			done = true
		case strings.HasPrefix(data, `{"error"`):
			return n, fmt.Errorf("error event: %s", data)
		default:
			n++
		}
	}
	if lines.Err() == nil && !done {
		return n, io.ErrUnexpectedEOF
	}
	return n, lines.Err()
}

func (l *load) count(p *process, c call, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed[p] = append(l.failed[p], time.Now().Format("15:04:05.000 ")+c.kind+": "+err.Error())
		return
	}
	l.done[c.kind]++
}

// total is how many calls have succeeded.
func (l *load) total() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.done {
		n += k
	}
	return n
}

// failures lists those of the gateways that are not excepted.
func (l *load) failures(except ...*process) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for p, list := range l.failed {
		for _, e := range except {
			if p == e {
				continue next
			}
		}
		for _, f := range list {
			name := "balancer"
			if p != nil {
				name = p.name
			}
			all = append(all, name+": "+f)
		}
	}
	return all
}
