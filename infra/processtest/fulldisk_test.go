//go:build linux

package processtest

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/infra/needs"
)

// P2: a key that is revoked while the disk is full is not served again by a cold
// start without etcd: the policy finds the room that was kept for it, or, where
// somebody took that as well, the start refuses what is older.
func TestP2ARevokedKeyStaysRevokedThoughTheDiskWasFull(t *testing.T) {
	for name, taken := range map[string]bool{"with the room that is kept": false, "without it": true} {
		t.Run(name, func(t *testing.T) {
			disk := needs.SmallDisk(t, 6<<20)
			cache := filepath.Join(disk, "cache")
			s := startStamp(t, stampOptions{notice: time.Millisecond, timeout: 5 * time.Second, Options: e2e.Options{
				Clients: []string{"leaver"}, Configure: func(c *gateway.Config) { c.Policy.CacheDir = cache },
			}})
			p := s.processes[0]
			if got := s.answers(p, "leaver"); got != "200" {
				t.Fatalf("before: %s", got)
			}
			if taken {
				if err := os.Remove(filepath.Join(cache, "reserve")); err != nil {
					t.Fatal(err)
				}
			}
			needs.Fill(t, filepath.Join(disk, "other"))
			s.Publish(without(s.Policy, "leaver"))
			e2e.Await(t, "the policy is in force", func() bool { return s.answers(p, "leaver") == "401 unauthorized" })
			e2e.Await(t, "status tells whether it is kept", func() bool {
				st, ok := p.status()
				return ok && st.Policy.Serial == 2 && (st.Policy.Unkept != "") == taken
			})
			if taken {
				s.awaitUnkept(p)
			}
			s.StopControl()
			p.signal(syscall.SIGKILL)
			_ = p.awaitExit()
			p.start()
			want := map[string]string{"leaver": "401 unauthorized", "payroll": "200"}
			if taken {
				want["leaver"], want["payroll"] = "503 no_backend_in_boundary", "503 no_backend_in_boundary"
			} else {
				p.awaitReady()
			}
			e2e.Await(t, "it answers", func() bool { return p.health("/health/live") == http.StatusOK })
			for client, wanted := range want {
				if got := s.answers(p, client); got != wanted {
					t.Errorf("after a cold start without etcd %s gets %s, want %s", client, got, wanted)
				}
			}
			if taken && !strings.Contains(string(p.said()), "policy.acceptOlder") {
				t.Error("the log names no remedy")
			}
		})
	}
}

// awaitUnkept waits until the control plane shows what the disk did not take.
func (s *stamp) awaitUnkept(p *process) {
	e2e.Await(s.T, "the control plane shows it", func() bool {
		status, err := s.Control.Status(s.T.Context())
		if err != nil {
			return false
		}
		for _, b := range status.Boundaries {
			for _, g := range b.Gateways {
				if g.Name == p.name && strings.Contains(g.Unkept, "policy 2") {
					return true
				}
			}
		}
		return false
	})
}

// answers is what a call of the client gets.
func (s *stamp) answers(p *process, client string) string {
	key := s.Key
	s.Key = s.Keys[client]
	defer func() { s.Key = key }()
	return s.callOnce(p.http, p)
}

// without removes a client from a policy.
func without(policy, client string) string {
	before, rest, _ := strings.Cut(policy, "  - name: "+client+"\n")
	if at := strings.Index(rest, "  - name: "); at >= 0 {
		return before + rest[at:]
	}
	return before
}
