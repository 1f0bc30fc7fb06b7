package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"

	"github.com/stampgate/stampgate/gateway/targets"
)

// wholeLimit is the largest plain answer that is held until it is complete, in
// bytes. A larger one is passed on as it comes.
const wholeLimit = 1 << 20

var errTruncated = errors.New("the answer is not complete JSON")

// plain handles an answer that is not an event stream. It is passed on only
// when it has come whole, so that a truncated one is a failed attempt like any
// other. kind is what a complete answer counts as.
func (a *attempt) plain(resp *http.Response, kind targets.Kind) targets.Outcome {
	buf := a.proxy.buffers.Get().(*[]byte)
	defer a.proxy.buffers.Put(buf)
	var whole []byte // beyond one read
	for {
		n, err := a.read(resp.Body, *buf)
		if ended(err) && whole == nil {
			return a.complete(resp, (*buf)[:n], kind)
		}
		whole = append(whole, (*buf)[:n]...)
		switch {
		case ended(err):
			return a.complete(resp, whole, kind)
		case err != nil:
			return a.broken(err)
		case len(whole) > wholeLimit:
			return a.overflow(resp, whole, *buf, kind)
		}
	}
}

// complete passes on an answer that is all there.
func (a *attempt) complete(resp *http.Response, body []byte, kind targets.Kind) targets.Outcome {
	a.gotFirstByte()
	if kind == targets.Rejected {
		if resp.StatusCode == http.StatusNotFound && deploymentMissing(body) {
			a.result.Err = statusError(resp.StatusCode)
			return targets.Outcome{Kind: targets.DeploymentMissing, FirstByte: a.firstByte, Signals: a.signals}
		}
	} else if isJSON(resp.Header) && !balanced(body) {
		return a.broken(errTruncated)
	}
	a.commit(resp, int64(len(body)))
	if err := a.write(body, false); err != nil {
		return a.clientGone(err)
	}
	return targets.Outcome{Kind: kind, FirstByte: a.firstByte, Signals: a.signals, Sent: true}
}

// overflow passes on an answer that is too large to hold.
func (a *attempt) overflow(resp *http.Response, head, buf []byte, kind targets.Kind) targets.Outcome {
	a.commit(resp, resp.ContentLength)
	if err := a.write(head, true); err != nil {
		return a.clientGone(err)
	}
	for {
		n, err := a.read(resp.Body, buf)
		if n > 0 {
			if werr := a.write(buf[:n], false); werr != nil {
				return a.clientGone(werr)
			}
		}
		switch {
		case ended(err):
			return targets.Outcome{Kind: kind, FirstByte: a.firstByte, Signals: a.signals, Sent: true}
		case err != nil:
			return a.broken(err)
		}
	}
}

// isJSON reports whether the body is JSON that can be read as it is: nobody
// asked for a compressed one, but if it comes it passes untouched.
func isJSON(h http.Header) bool {
	if h.Get("Content-Encoding") != "" {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && mediaType == "application/json"
}

// balanced reports whether the brackets of a JSON text close, strings apart,
// and nothing follows them. It finds every truncation of an object or array at
// a fraction of the cost of parsing; it does not validate.
func balanced(b []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString:
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth <= 0 {
				return depth == 0 && len(bytes.TrimSpace(b[i+1:])) == 0
			}
		}
	}
	return false
}

// deploymentMissing recognises the one 404 that is about our policy and not
// about the client's request.
func deploymentMissing(body []byte) bool {
	var e struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	return json.Unmarshal(body, &e) == nil && e.Error.Code == "DeploymentNotFound"
}
