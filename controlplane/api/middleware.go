package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
)

// record writes one line per request. It names the route and not the path, and
// no query: an author's message is in the audit trail, where it belongs.
func (s *server) record(c *gin.Context) {
	began := time.Now()
	c.Next()
	route := c.FullPath()
	if strings.HasPrefix(route, "/health/") {
		return
	}
	s.log.Info().Str("method", knownMethod(c.Request.Method)).Str("route", route).Str("boundary", s.knownBoundary(c)).
		Int("status", c.Writer.Status()).Dur("took_ms", time.Since(began)).Msg("operator request")
}

func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

func (s *server) knownBoundary(c *gin.Context) string {
	b, st := s.boundary(c)
	if st == nil {
		return ""
	}
	return string(b)
}

func (s *server) recovered(c *gin.Context) {
	defer func() {
		if v := recover(); v != nil {
			s.log.Error().Str("panic", fmt.Sprintf("%.200v", v)).Bytes("stack", debug.Stack()).Msg("operator request panicked")
			fail(c, http.StatusInternalServerError, client.CodeInternal, "internal error; the control plane's log says more")
		}
	}()
	c.Next()
}

func headers(c *gin.Context) {
	c.Header("Cache-Control", "no-store")
	c.Header("X-Content-Type-Options", "nosniff")
}

// admit lets those in who present the admin token. Hashes are compared, so that
// the time taken tells neither its length nor its beginning.
func (s *server) admit(c *gin.Context) {
	presented := c.Request.Header.Values("Authorization")
	want := sha256.Sum256([]byte(s.cfg.Token.Reveal()))
	if len(presented) == 1 {
		scheme, token, _ := strings.Cut(presented[0], " ")
		got := sha256.Sum256([]byte(token))
		if strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			return
		}
	}
	c.Header("WWW-Authenticate", "Bearer")
	fail(c, http.StatusUnauthorized, client.CodeUnauthorized, "present the admin token as Authorization: Bearer …")
}

// known refuses boundaries that this control plane does not serve.
func (s *server) known(c *gin.Context) {
	if _, st := s.boundary(c); st == nil {
		fail(c, http.StatusNotFound, client.CodeNotFound,
			fmt.Sprintf("no boundary of this name is served here; there are: %s", joined(s.boundaries)))
	}
}

func joined(bs []geo.Boundary) string {
	var out strings.Builder
	for i, b := range bs {
		if i > 0 {
			out.WriteString(", ")
		}
		out.WriteString(string(b))
	}
	return out.String()
}
