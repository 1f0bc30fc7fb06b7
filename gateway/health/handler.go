package health

import (
	"net/http"
	"strings"
	"time"
)

// Config says what a Handler serves.
type Config struct {
	Machine *Machine
	// Authorized reports whether the request bears the admin token. It is asked
	// only when there is an Authorization header; nil means nobody does. A wrong
	// token is no error: the caller gets what anyone gets.
	Authorized func(*http.Request) bool
	// Detail is called for each request that may see details; nil: there are none.
	Detail func() Detail
	// Admin: everyone who reaches this handler may see the details.
	Admin bool
}

// A Handler answers /health/… on plain net/http. It answers GET and HEAD alike,
// whatever the Host, and needs no credential.
type Handler struct {
	cfg Config

	live, vm, stale, unknown, noRoute, noPath, noMethod *answer

	noStore []string
	allow   []string
}

// NewHandler returns a handler.
func NewHandler(cfg Config) *Handler {
	return &Handler{
		cfg:  cfg,
		live: statusAnswer(Pass),
		// Anything else, and the platform replaces the machine.
		vm:       newAnswer(http.StatusOK, plainJSON, []byte(`{"ApplicationHealthState":"Healthy"}`+"\n")),
		stale:    newAnswer(http.StatusServiceUnavailable, healthJSON, []byte(`{"status":"fail","output":"not evaluated of late"}`+"\n")),
		unknown:  statusAnswer(Fail),
		noRoute:  newAnswer(http.StatusNotFound, healthJSON, []byte(`{"status":"fail","output":"no such route"}`+"\n")),
		noPath:   newAnswer(http.StatusNotFound, healthJSON, []byte(`{"status":"fail","output":"no such health path"}`+"\n")),
		noMethod: newAnswer(http.StatusMethodNotAllowed, healthJSON, []byte(`{"status":"fail","output":"only GET and HEAD"}`+"\n")),
		noStore:  []string{"no-store"},
		allow:    []string{"GET, HEAD"},
	}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header()["Allow"] = h.allow
		h.write(w, r, h.noMethod)
		return
	}
	p := h.cfg.Machine.now.Load()
	a := h.find(p, r.URL.Path)
	if stamp := a == p.stamp; (stamp || r.URL.Path == "/health/ready" && a == p.ready) && h.detailed(r) {
		a = detailAnswer(p, stamp, a.code, h.cfg.Detail())
	}
	h.write(w, r, a)
}

// find returns the answer for anyone.
func (h *Handler) find(p *view, path string) *answer {
	switch path {
	case "/health/live":
		return h.live
	case "/health/vm":
		return h.vm
	}
	name, isRoute := strings.CutPrefix(path, "/health/route/")
	if !isRoute && path != "/health/ready" && path != "/health/stamp" {
		return h.noPath
	}
	switch {
	case p.at.IsZero(), time.Since(p.at) > staleAfter:
		return h.stale
	case path == "/health/ready":
		return p.ready
	case path == "/health/stamp":
		return p.stamp
	case !p.policy: // nobody can say which routes there are
		return h.unknown
	}
	if a := p.routes[name]; a != nil {
		return a
	}
	return h.noRoute
}

// detailed reports whether the caller may see more than the status.
func (h *Handler) detailed(r *http.Request) bool {
	if h.cfg.Detail == nil {
		return false
	}
	if h.cfg.Admin {
		return true
	}
	return h.cfg.Authorized != nil && r.Header.Get("Authorization") != "" && h.cfg.Authorized(r)
}

// write sends an answer. The header values are shared slices: that spares the
// allocations, and nobody behind us changes a header's values in place.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, a *answer) {
	head := w.Header()
	head["Content-Type"] = a.kind
	head["Content-Length"] = a.length
	head["Cache-Control"] = h.noStore
	w.WriteHeader(a.code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // the caller has gone: nothing to do
	}
}
