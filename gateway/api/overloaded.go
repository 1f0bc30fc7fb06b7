package api

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/stampgate/stampgate/gateway/proxy"
)

// Overloaded answers every request as one that this machine has no room for. It
// reads nothing of it and counts nothing: it is for what is refused before the
// edge sees it.
func Overloaded() http.Handler {
	refusal := &proxy.Refusal{
		Status: http.StatusServiceUnavailable, Code: "overloaded", RetryAfter: time.Second,
		Message: "The gateway has no room for another connection at the moment.",
	}
	text, err := json.Marshal(errorBody{errorFields{Code: refusal.Code, Message: refusal.Message, Type: errorType(refusal.Status)}})
	if err != nil {
		panic("api: an error body of plain strings cannot be encoded: " + err.Error())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(text)))
		setRetry(h, refusal, rand.Float64())
		w.WriteHeader(refusal.Status)
		_, _ = w.Write(text) // a client that has gone needs no answer
	})
}
