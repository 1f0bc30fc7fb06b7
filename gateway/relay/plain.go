package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/stampgate/stampgate/gateway/answer"
	"github.com/stampgate/stampgate/gateway/bytebudget"
	"github.com/stampgate/stampgate/gateway/sse"
	"github.com/stampgate/stampgate/gateway/targets"
)

// wholeLimit is the largest plain answer that is held until it is complete, in
// bytes. A larger one is passed on as it comes, and judged by its beginning.
const wholeLimit = 1 << 20

var (
	errTruncated  = errors.New("the answer is not complete JSON")
	errNotAStream = errors.New("the answer is no event stream, and the head of one has gone to the client")
)

// plain handles an answer that is not an event stream. It is passed on only
// when it has come whole, so that a truncated one is a failed attempt like any
// other; unless it is too large to hold, or the budget has no room for it.
func (a *attempt) plain(resp *http.Response) targets.Outcome {
	buf := a.relay.buffers.Get().(*[]byte)
	defer a.relay.buffers.Put(buf)
	defer a.call.Hold.GiveAnswer()
	var whole *bytebudget.Buffer // beyond one read
	for {
		n, err := a.read(resp.Body, *buf)
		if whole == nil {
			if ended(err) {
				return a.complete(resp, (*buf)[:n])
			}
			whole = bytebudget.NewBuffer(a.call.Hold.TakeAnswer, int(max(0, resp.ContentLength)))
		}
		room := whole.Write((*buf)[:n])
		switch {
		case err != nil && !ended(err):
			return a.broken(err)
		case !room && len(a.call.Transforms) > 0:
			return a.broken(errNoRoom) // what cannot be held cannot be changed as a whole
		case !room:
			return a.overflow(resp, [2][]byte{whole.Bytes(), (*buf)[:n]}, ended(err))
		case ended(err):
			return a.complete(resp, whole.Bytes())
		case len(whole.Bytes()) > wholeLimit && len(a.call.Transforms) == 0:
			return a.overflow(resp, [2][]byte{whole.Bytes()}, false)
		}
	}
}

// complete passes on an answer that is all there.
func (a *attempt) complete(resp *http.Response, body []byte) targets.Outcome {
	a.gotFirstByte()
	kind, whole := a.meaning(resp, body)
	if !whole {
		return a.broken(errTruncated)
	}
	if kind != targets.Success && kind != targets.Rejected {
		return a.refused(kind, a.signals, statusError(resp.StatusCode))
	}
	if a.early.take() {
		return a.tooLate(kind, body)
	}
	a.credit(kind == targets.Success)
	body = a.call.transformBody(resp.StatusCode, resp.Header.Get("Content-Type"), body)
	a.commit(resp, int64(len(body)))
	if err := a.write(body, false); err != nil {
		return a.clientGone(err)
	}
	return a.outcome(kind)
}

// meaning says what the answer means by its status and body, or by the
// beginning of its body, and whether the body is whole as far as can be told.
func (a *attempt) meaning(resp *http.Response, body []byte) (kind targets.Kind, whole bool) {
	if !succeeded(resp.StatusCode) {
		kind, a.signals = answer.ByStatus(resp.StatusCode, answer.ParseFault(body), a.signals)
		return kind, true
	}
	if !isJSON(resp.Header) {
		return targets.Success, true
	}
	look := answer.Scan(body)
	a.model = a.relay.names.of(look.Model)
	if look.Failed {
		kind, a.signals = answer.ByFault(answer.ParseFault(body), a.signals)
	}
	return kind, look.Whole
}

// tooLate handles a plain answer to a client that has the head of a stream
// already: its error becomes an event; a good one cannot become a stream.
func (a *attempt) tooLate(kind targets.Kind, body []byte) targets.Outcome {
	if kind != targets.Rejected {
		a.early.release() // for the next attempt
		return a.broken(errNotAStream)
	}
	f := answer.ParseFault(body)
	if f.Code == "" {
		f.Code = "invalid_request"
	}
	a.committed, a.Status, a.Aborted = true, http.StatusOK, true
	event := sse.ErrorFrame(a.call.Match.Operation.ErrorForm, f.Code, f.Message)
	if a.call.Match.Operation.ErrorForm == sse.Chat && json.Valid(body) && !bytes.ContainsAny(body, "\r\n") {
		event = slices.Concat([]byte("data: "), body, []byte("\n\n")) // as Azure words it
	}
	if err := a.write(event, true); err != nil {
		return a.clientGone(err)
	}
	return a.outcome(kind)
}

// overflow passes on an answer that is too large to hold: what was read of it, and
// then the rest as it comes, if it has not ended. It is judged by what is held.
func (a *attempt) overflow(resp *http.Response, read [2][]byte, end bool) targets.Outcome {
	head := read[0]
	if len(head) == 0 {
		head = read[1]
	}
	kind, _ := a.meaning(resp, head)
	if kind != targets.Success && kind != targets.Rejected {
		return a.refused(kind, a.signals, statusError(resp.StatusCode))
	}
	if a.early.take() {
		return a.tooLate(kind, head)
	}
	a.credit(kind == targets.Success)
	a.commit(resp, resp.ContentLength)
	for _, p := range read {
		if err := a.write(p, true); err != nil {
			return a.clientGone(err)
		}
	}
	if end {
		return a.outcome(kind)
	}
	return a.passOn(resp, kind)
}

// passOn passes the rest of an answer on as it comes.
func (a *attempt) passOn(resp *http.Response, kind targets.Kind) targets.Outcome {
	a.call.Hold.GiveAnswer() // the client has it
	buf := a.relay.buffers.Get().(*[]byte)
	defer a.relay.buffers.Put(buf)
	for {
		n, err := a.read(resp.Body, *buf)
		if n > 0 {
			if werr := a.write((*buf)[:n], false); werr != nil {
				return a.clientGone(werr)
			}
		}
		switch {
		case ended(err):
			return a.outcome(kind)
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
	return isMediaType(h, "application/json")
}
