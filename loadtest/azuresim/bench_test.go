package azuresim_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// What the simulator itself costs bounds what can be measured against it.
func BenchmarkAnswer(b *testing.B) {
	for name, body := range map[string]string{"plain": hello, "stream16": helloEvent} {
		b.Run(name, func(b *testing.B) {
			sim, err := azuresim.Start(b.Context(), azuresim.Config{Instances: []azuresim.InstanceConfig{instance("swc", nil)}}, zerolog.Nop())
			if err != nil {
				b.Fatal(err)
			}
			defer sim.Close()
			url := sim.Instance("swc").URL() + chatPath
			tr := &http.Transport{MaxIdleConnsPerHost: 64}
			defer tr.CloseIdleConnections()
			hc := &http.Client{Transport: tr}
			b.ReportAllocs()
			for b.Loop() {
				r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, url, strings.NewReader(body))
				r.Header.Set("Api-Key", testKey)
				resp, err := hc.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
}
