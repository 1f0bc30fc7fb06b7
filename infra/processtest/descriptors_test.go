//go:build linux

package processtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway/breaker"
	"github.com/stampgate/stampgate/infra/e2e"
)

// A gateway whose clients take all the descriptors that there are sheds with 503
// overloaded or by closing, blames no backend for it, and its health and admin
// listeners answer throughout. When the load is gone it serves as before.
func TestHealthAndAdminAnswerWithoutDescriptors(t *testing.T) {
	s := startStamp(t, stampOptions{noStart: true, notice: time.Millisecond, timeout: 5 * time.Second})
	p := s.processes[0]
	p.nofile = 96
	p.start()
	p.awaitReady()

	stop := make(chan struct{})
	var watchers sync.WaitGroup
	var looks atomic.Int32
	for _, url := range []string{p.url + "/health/ready", p.url + "/health/stamp", p.admin + "/status", p.admin + "/health/ready"} {
		watchers.Go(func() {
			alone := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
				resp, err := alone.Get(url)
				if err != nil {
					t.Errorf("%s: %v", url, err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %d", url, resp.StatusCode)
				}
				looks.Add(1)
			}
		})
	}
	answers := s.crowd(p, 100, 10)
	close(stop)
	watchers.Wait()
	t.Logf("answers %v; %d looks at health and admin", answers, looks.Load())
	if answers["200"] == 0 || answers["503 overloaded"] == 0 || looks.Load() < 20 {
		t.Error("want some served, some shed, and health answered meanwhile")
	}
	for what := range answers {
		if what != "200" && what != "503 overloaded" && what != "closed" {
			t.Errorf("an answer %q", what)
		}
	}
	status, ok := p.status()
	if !ok {
		t.Fatal("no status")
	}
	for _, target := range status.Targets {
		if !target.Available || target.Breaker != breaker.Closed || target.Suspect {
			t.Errorf("%s was blamed: %+v", target.Backend, target)
		}
	}
	s.Await("served as before", func() bool {
		got := s.crowd(p, 1, 1)
		return got["200"] == 1
	})
}

// crowd has so many clients call at once, with a new connection for each call and
// a silent one beside it, so many times each, and counts the answers.
func (s *stamp) crowd(p *process, clients, calls int) map[string]int {
	var mu sync.Mutex
	answers := map[string]int{}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			alone := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: e2e.Limit}
			for range calls {
				silent, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
				what := s.callOnce(alone, p)
				if err == nil {
					_ = silent.Close()
				}
				mu.Lock()
				answers[what]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return answers
}

func (s *stamp) callOnce(c *http.Client, p *process) string {
	req, err := http.NewRequest(http.MethodPost, p.url+"/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
		bytes.NewReader([]byte(`{"messages":[{"role":"user","content":"Hello"}]}`)))
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Api-Key", s.Key)
	resp, err := c.Do(req)
	if err != nil {
		return "closed"
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	var body struct{ Error struct{ Code string } }
	switch {
	case err != nil:
		return "closed"
	case resp.StatusCode == http.StatusOK:
		return "200"
	}
	_ = json.Unmarshal(text, &body)
	return fmt.Sprintf("%d %s", resp.StatusCode, body.Error.Code)
}
