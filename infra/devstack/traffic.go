package devstack

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// apiVersion is the dated Azure OpenAI API that the stack's own requests use.
const apiVersion = "2024-10-21"

// awaitTraffic waits until the gateway says that it is ready, and then until
// one chat request has gone the whole way through it to a backend and back.
func awaitTraffic(ctx context.Context, roots *x509.CertPool, gateway, key string) error {
	ctx, cancel := context.WithTimeout(ctx, trafficWait)
	defer cancel()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	if err := repeat(ctx, func() error { return expectOK(ctx, client, readyRequest(gateway)) }); err != nil {
		return fmt.Errorf("wait for /health/ready: %w", err)
	}
	if err := repeat(ctx, func() error { return expectOK(ctx, client, chatRequest(gateway, key)) }); err != nil {
		return fmt.Errorf("send a chat request: %w", err)
	}
	return nil
}

// repeat tries until it succeeds, and returns the last error when time is up.
func repeat(ctx context.Context, try func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return err
		case <-tick.C:
		}
	}
}

type request struct{ method, url, key, body string }

func readyRequest(gateway string) request {
	return request{method: http.MethodGet, url: gateway + "/health/ready"}
}

func chatRequest(gateway, key string) request {
	return request{http.MethodPost, chatURL(gateway), key, `{"messages":[{"role":"user","content":"hello"}]}`}
}

func chatURL(gateway string) string {
	return gateway + "/openai/deployments/" + probeRoute + "/chat/completions?api-version=" + apiVersion
}

func expectOK(ctx context.Context, client *http.Client, r request) error {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		return err
	}
	if r.key != "" {
		req.Header.Set("api-key", r.key)
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or of no interest
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s answers %s: %s", r.method, r.url, resp.Status, bytes.TrimSpace(body))
	}
	return nil
}
