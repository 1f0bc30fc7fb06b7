package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/probe"
)

const (
	// probePath lists the models. Every Azure OpenAI resource answers it; of the
	// answer only the status counts. The version is the newest dated one that is
	// not a preview.
	probePath  = "/openai/models"
	probeQuery = "api-version=2024-10-21"
	// probeBody bounds what is read of the answer, in bytes, so that its
	// connection can be kept: 300 models at 600 bytes each. What goes beyond costs
	// the connection.
	probeBody = 192 << 10
	// probeConnect is a little less than the whole, so that a connection that does
	// not come is told from an answer that does not.
	probeConnect = probe.Timeout * 9 / 10
)

// Probe finds out whether the target's endpoint can be reached, through the
// fenced dialer and over a kept connection where there is one. It carries what sign
// puts into its header and nothing else, runs no model, and tells nobody: what it
// found is the caller's. ctx bounds it.
func (u *Pools) Probe(ctx context.Context, t *policy.Target, sign func(http.Header) error) probe.Result {
	if t.Probe == policy.ProbeConnect {
		conn, err := u.dialer.Dial(ctx, t.Target, probeConnect)
		if err != nil {
			return probeFailed(ctx, err)
		}
		_ = conn.Close() // it has served
		return probe.Result{Outcome: probe.Reached}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.Key.Origin, bytes.NewReader(nil))
	if err != nil {
		return probe.Result{Outcome: probe.Unknown, Text: "the probe cannot be built"}
	}
	req.URL.Path, req.URL.RawQuery = probePath, probeQuery
	if err := sign(req.Header); err != nil {
		return probe.Result{Outcome: probe.NoCredential, Text: "no usable credential"}
	}
	resp, err := u.Send(req, t, Limits{Connect: probeConnect, Repeatable: true})
	if err != nil {
		return probeFailed(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	// What the body says does not matter, nor whether it ends.
	_, _ = io.CopyN(io.Discard, resp.Body, probeBody)
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return probe.Result{Outcome: probe.Unauthorized, Text: "it refuses our credential"}
	case resp.StatusCode >= http.StatusInternalServerError:
		return probe.Result{Outcome: probe.ServerError, Text: fmt.Sprintf("it answered %d", resp.StatusCode)}
	}
	return probe.Result{Outcome: probe.Reached}
}

// probeFailed names the step that failed. What this machine could not do says
// nothing of the backend.
func probeFailed(ctx context.Context, err error) probe.Result {
	late := errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded)
	how := "failed"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		how = "refused"
	case late:
		how = "timed out"
	case ctx.Err() != nil:
		return probe.Result{Outcome: probe.Unknown, Text: "given up"}
	case IsLocal(err):
		return probe.Result{Outcome: probe.Unknown, Text: "this machine has no descriptor or port left"}
	}
	dial, ok := errors.AsType[*DialError](err)
	switch {
	case !ok:
		return probe.Result{Outcome: probe.NoAnswer, Text: "answer " + how}
	case dial.TLS:
		return probe.Result{Outcome: probe.TLSFailed, Text: "TLS " + how}
	}
	return probe.Result{Outcome: probe.ConnectFailed, Text: "connect " + how}
}
