package azuresim_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

func TestRecordSaysWhatArrived(t *testing.T) {
	i := one(t, nil)
	before := time.Now()
	r := call{body: helloEvent, header: map[string]string{"x-request-id": "abc", "X-Secret": "value"}}.must(t, i.URL())
	rec := i.Records()[0]
	sum := sha256.Sum256([]byte(helloEvent))
	if rec.Sequence != 1 || rec.Instance != "swc" || rec.Operation != "ChatCompletions_Create" || rec.Method != "POST" ||
		rec.Path != "/openai/deployments/chat/chat/completions" || rec.APIVersion != apiVersion || rec.Deployment != "chat" ||
		!rec.Stream || !strings.HasPrefix(rec.Peer, "127.0.0.1:") || rec.Credential != azuresim.CredentialAPIKey ||
		rec.BodyBytes != int64(len(helloEvent)) || rec.BodySHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("record %+v", rec)
	}
	if rec.Status != 200 || !rec.HeadersSent || !rec.Finished() || rec.AnswerBytes != int64(len(r.text)) ||
		rec.Start.Before(before) || rec.End.Before(rec.Start) {
		t.Errorf("record of the answer %+v", rec)
	}
	if !slices.Contains(rec.HeaderNames, "x-secret") || rec.Headers["x-request-id"] != "abc" {
		t.Errorf("headers %v %v", rec.HeaderNames, rec.Headers)
	}
	if i.Requests() != 1 || i.Connections() != 1 {
		t.Errorf("%d requests, %d connections", i.Requests(), i.Connections())
	}
}

// No secret and no text of a prompt may be found in a record or in the log.
func TestNothingConfidentialIsKeptOrLogged(t *testing.T) {
	var log bytes.Buffer
	sim, err := azuresim.Start(t.Context(), azuresim.Config{
		ControlListen: "127.0.0.1:0", Instances: []azuresim.InstanceConfig{instance("swc", nil)},
	}, zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	base := sim.Instance("swc").URL()
	const canary = "canary-7f3a"
	for _, c := range []call{
		{body: `{"messages":[{"role":"user","content":"` + canary + `"}]}`},
		{body: `{"messages":"` + canary},
		{header: map[string]string{"Api-Key": canary}},
		{header: map[string]string{"Api-Key": "", "Authorization": "Bearer " + canary}},
		{header: map[string]string{"Cookie": canary, "X-Other": canary}},
		{path: "/openai/v1/embeddings", body: `{"model":"vectors","input":"` + canary + `"}`},
	} {
		c.must(t, base)
	}
	records := call{method: "GET", path: "/records"}.must(t, sim.ControlURL())
	_ = sim.Close()
	if strings.Contains(records.text, canary) || strings.Contains(records.text, testKey) {
		t.Errorf("found in the records: %s", records.text)
	}
	if strings.Contains(log.String(), canary) || strings.Contains(log.String(), testKey) {
		t.Errorf("found in the log: %s", log.String())
	}
}

func TestRecordsOfAllInstancesAreInOrderAndBounded(t *testing.T) {
	sim := start(t, azuresim.Config{
		MaxRecords: 3, Instances: []azuresim.InstanceConfig{instance("a", nil), instance("b", nil)},
	})
	hc := client(t)
	for n := range 10 {
		if _, err := (call{}).do(t, hc, sim.Instances()[n%2].URL()); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, r := range sim.Records() {
		got = append(got, fmt.Sprint(r.Instance, r.Sequence))
	}
	if want := []string{"a5", "b6", "a7", "b8", "a9", "b10"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	a := sim.Instance("a")
	if a.RecordsDropped() != 2 || a.Requests() != 5 {
		t.Errorf("%d dropped of %d", a.RecordsDropped(), a.Requests())
	}
	if r := a.RecordsSince(7); len(r) != 1 || r[0].Sequence != 9 {
		t.Errorf("since 7: %+v", r)
	}
	sim.ClearRecords()
	if len(sim.Records()) != 0 || a.Requests() != 5 {
		t.Error("clearing keeps records or forgets counts")
	}
}

// A client that goes away in the middle is noticed while the answer is paced.
func TestClientThatGoesAwayIsRecorded(t *testing.T) {
	i := one(t, func(c *azuresim.InstanceConfig) {
		c.Latency = &azuresim.Latency{PerToken: time.Hour, Tokens: 4}
	})
	for n, body := range []string{hello, helloEvent} {
		resp := make(chan struct{})
		hc := client(t)
		hc.Timeout = 50 * time.Millisecond
		go func() {
			defer close(resp)
			_, _ = call{body: body}.do(t, hc, i.URL())
		}()
		<-resp
		await(t, "the client is gone", func() bool { return len(i.Records()) == n+1 && i.Records()[n].Aborted() })
	}
	if i.InFlight() != 0 {
		await(t, "no request runs", func() bool { return i.InFlight() == 0 })
	}
}

func TestCloseCutsRunningRequestsAndWaits(t *testing.T) {
	sim := start(t, azuresim.Config{Instances: []azuresim.InstanceConfig{instance("swc", func(c *azuresim.InstanceConfig) {
		c.Latency = &azuresim.Latency{FirstToken: time.Hour}
	})}})
	i := sim.Instance("swc")
	done := make(chan error)
	go func() { _, err := call{}.do(t, client(t), i.URL()); done <- err }()
	await(t, "the request is there", func() bool { return i.InFlight() == 1 })
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the request got an answer")
	}
	if r := i.Records()[0]; r.Outcome != azuresim.OutcomeCut || i.InFlight() != 0 {
		t.Errorf("record %+v", r)
	}
}
