package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/e2e"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

const targetHeader = "X-Stampgate-Target"

func debugging(document string) string { return document + "debugHeaders: true\n" }

func TestRepliesNameNoTargetUnlessThePolicyAllowsIt(t *testing.T) {
	s := e2e.Start(t, e2e.Options{})
	g := s.Gateways[0]
	named := func() bool {
		return post(t, g, s.Key, chatPath, chatBody(false)).Header.Get(targetHeader) != ""
	}
	fail := azuresim.Fault{Kind: azuresim.FaultStatus, Status: 500}
	if named() {
		t.Error("an answer names its target, and the policy does not say so")
	}
	for _, i := range s.Sim.Instances() {
		if err := i.SetFault(fail); err != nil {
			t.Fatal(err)
		}
	}
	if resp := post(t, g, s.Key, chatPath, chatBody(false)); resp.StatusCode < 500 || resp.Header[targetHeader] != nil {
		t.Errorf("a refusal: %d, %v", resp.StatusCode, resp.Header)
	}
	s.Sim.ClearFaults()

	plain := s.Policy
	s.Publish(debugging(plain))
	s.Await("the header when the policy allows it", named)
	s.Publish(plain)
	s.Await("its end when the policy does not any more", func() bool { return !named() })
}

func TestRepliesNameTheTargetOfEachAttemptInOrder(t *testing.T) {
	s := e2e.Start(t, e2e.Options{Regions: []geo.RegionID{"swedencentral", "westeurope"}, Edit: debugging})
	g := s.Gateways[0]
	for _, stream := range []bool{false, true} {
		resp := post(t, g, s.Key, chatPath, chatBody(stream))
		if got := resp.Header.Get(targetHeader); resp.StatusCode != http.StatusOK || got != "swedencentral-ptu/gpt-4o" {
			t.Errorf("stream %t: %d, %s = %q", stream, resp.StatusCode, targetHeader, got)
		}
		_ = read(t, resp)
	}
	// Without a backend nothing was tried.
	if resp := post(t, g, s.Key, "/openai/deployments/none/chat/completions?api-version=2024-10-21", chatBody(false)); resp.Header[targetHeader] != nil {
		t.Errorf("route_not_found names %q", resp.Header.Get(targetHeader))
	}
	throttle := azuresim.Fault{Kind: azuresim.FaultThrottle, RetryAfter: "60"}
	for _, name := range []string{"swedencentral-ptu", "swedencentral-std"} {
		if err := s.Sim.Instance(name).SetFault(throttle); err != nil {
			t.Fatal(err)
		}
	}
	resp := post(t, g, s.Key, chatPath, chatBody(false))
	got := resp.Header.Get(targetHeader)
	if want := "swedencentral-ptu/gpt-4o, swedencentral-std/gpt-4o, westeurope-std/gpt-4o"; resp.StatusCode != http.StatusOK || got != want {
		t.Errorf("after two refusals: %d, %q; want %q", resp.StatusCode, got, want)
	}
	if n := resp.Header.Get("x-stampgate-attempts"); n != "3" || strings.Count(got, "/") != 3 {
		t.Errorf("%s attempts, and %q", n, got)
	}
}
