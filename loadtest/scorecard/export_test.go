package scorecard

import (
	"context"
	"crypto/x509"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/upstream"
)

// RunGateway starts the gateway as its command does.
func RunGateway(ctx context.Context, text []byte, roots *x509.CertPool, ready func(string)) error {
	cfg, err := gateway.ParseConfig(text)
	if err != nil {
		return err
	}
	cfg.AllowLoopback = true
	return gateway.Run(ctx, cfg, gateway.Options{
		Log: zerolog.Nop(), Dialer: upstream.Dialer{Roots: roots},
		Ready: func(a gateway.Addresses) { ready(a.URL) },
	})
}
