package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stampgate/stampgate/gateway/admin/adminapi"
	"github.com/stampgate/stampgate/stamp/secret"
)

// Bounds of one question to a gateway's admin listener.
const (
	gatewayTimeout  = 10 * time.Second
	gatewayMaxReply = 8 << 20
)

// askGateway gets a gateway's own explanation. Without a token file the token is
// that of the development stack, if the address is one of its gateways.
func (g *globals) askGateway(ctx context.Context, f explainFlags) (*adminapi.Explained, error) {
	token, err := adminToken(f)
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(f.gatewayAdmin)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return nil, usage("--gateway-admin %s: want the URL of a gateway's admin listener, such as http://127.0.0.1:9443", f.gatewayAdmin)
	}
	target = target.JoinPath(adminapi.ExplainPath)
	target.RawQuery = url.Values{adminapi.ExplainClient: {f.Client}, adminapi.ExplainRoute: {f.Route}}.Encode()
	ctx, cancel := context.WithTimeout(ctx, gatewayTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	if !token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this address alone
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read below
	body, err := io.ReadAll(io.LimitReader(resp.Body, gatewayMaxReply))
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var reply adminapi.Refused
		_ = json.Unmarshal(body, &reply) // what is not ours has only a status
		return nil, fmt.Errorf("the gateway at %s answers %s: %s", f.gatewayAdmin, resp.Status, orDash(reply.Error))
	}
	var v adminapi.Explained
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("read the gateway's answer: %w", err)
	}
	return &v, nil
}

func adminToken(f explainFlags) (secret.Secret, error) {
	if f.gatewayToken != "" {
		return readToken(f.gatewayToken)
	}
	stack, err := discover()
	if errors.Is(err, fs.ErrNotExist) {
		return secret.Secret{}, nil // a loopback listener may need none
	}
	if err != nil {
		return secret.Secret{}, err
	}
	for _, b := range stack.Boundaries {
		for _, gw := range b.Gateways {
			if gw.AdminURL == strings.TrimSuffix(f.gatewayAdmin, "/") {
				return secret.New(gw.AdminToken), nil
			}
		}
	}
	return secret.Secret{}, nil
}

// writeGateway shows what a gateway says, as it says it.
func writeGateway(w io.Writer, v *adminapi.Explained) {
	_, _ = fmt.Fprintf(w, "\nas %s sees it now, by policy %d\n", clean(v.Gateway), v.Policy)
	t := newTable("ORDER", "TIER", "BACKEND", "DEPLOYMENT", "REGION", "WHY NOT, OR WHAT IS KNOWN")
	for _, x := range v.Targets {
		order, reason := "-", orDash(x.Reason)
		if x.Order > 0 {
			order = strconv.Itoa(x.Order)
		}
		if x.Wait > 0 {
			reason += fmt.Sprintf(" for %v", time.Duration(x.Wait))
		}
		t.add(order, strconv.Itoa(x.Tier), clean(x.Backend), clean(x.Deployment), clean(string(x.Region)), reason)
	}
	t.write(w)
}
