package scorecard_test

import (
	"context"
	"crypto/x509"
	"testing"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/proxy"
	"github.com/stampgate/stampgate/loadtest/scorecard"
)

// runGateway starts the gateway as its command does.
func runGateway(ctx context.Context, text []byte, roots *x509.CertPool, ready func(string)) error {
	cfg, err := gateway.ParseConfig(text)
	if err != nil {
		return err
	}
	cfg.AllowLoopback = true
	return gateway.Run(ctx, cfg, gateway.Options{
		Log: zerolog.Nop(), Dialer: proxy.Dialer{Roots: roots},
		Ready: func(a gateway.Addresses) { ready(a.URL) },
	})
}

// P1, P4: whatever happens to one or two of three targets, every request that can
// be answered is, no answer is cut in silence, and nothing leaves the boundary.
func TestScorecardShort(t *testing.T) {
	card, err := scorecard.Run(t.Context(), scorecard.Config{Gateway: runGateway, Short: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := card.Err(); err != nil {
		t.Error(err)
	}
	for _, r := range card.Rows {
		if r.Outside != 0 {
			t.Errorf("%s, %s: %d calls outside the boundary", r.Fault, r.Mode, r.Outside)
		}
		if r.Mode == scorecard.Plain && r.Complete != r.Requests {
			t.Errorf("%s, plain, %d faulty: %d of %d answered", r.Fault, r.Faulty, r.Complete, r.Requests)
		}
	}
	t.Logf("%d rows in %v", len(card.Rows), card.Took)
}
