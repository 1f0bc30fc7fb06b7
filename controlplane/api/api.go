// Package api is the operator's HTTP API of the control plane: validate, publish
// and roll back policies, give orders, see what is in force where.
//
// It keeps no state: everything is read from and written to the etcd of the
// boundary that a path names. Nothing of one boundary is ever mixed into an
// answer for another. Gin stays in here: handlers unpack, call and write. The
// control plane mounts it; nobody else imports it.
package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/secret"
)

// Config is what the API works with.
type Config struct {
	Stores map[geo.Boundary]*store.Store
	Key    signing.PrivateKey // signs policies and orders
	// Trusted keys besides Key's own: their publications count as genuine.
	Trusted []signing.PublicKey
	Token   secret.Secret // that operators present
	// AllowLoopback accepts backends at http://127.…: development and tests only.
	AllowLoopback bool
	Version       string
	Log           zerolog.Logger
}

type server struct {
	cfg        Config
	trust      *signing.Verifier
	boundaries []geo.Boundary // sorted
	log        zerolog.Logger
}

// New makes the handler. It starts nothing.
func New(cfg Config) (http.Handler, error) {
	if cfg.Token.IsZero() {
		return nil, errors.New("operator API: there is no admin token")
	}
	trust, err := signing.NewVerifier(append([]signing.PublicKey{cfg.Key.Public()}, cfg.Trusted...))
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, trust: trust, log: cfg.Log}
	for b := range cfg.Stores {
		s.boundaries = append(s.boundaries, b)
	}
	slices.Sort(s.boundaries)
	return s.routes(), nil
}

func (s *server) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.ForwardedByClientIP = false
	e.Use(s.record, s.recovered, headers)
	e.NoRoute(func(c *gin.Context) {
		fail(c, http.StatusNotFound, client.CodeNotFound, "there is nothing at this path")
	})
	e.NoMethod(func(c *gin.Context) {
		fail(c, http.StatusMethodNotAllowed, client.CodeNotAllowed, "this path does not take this method")
	})
	e.GET("/health/live", s.live)
	e.GET("/health/ready", s.ready)

	v1 := e.Group("/api/v1", s.admit)
	v1.GET("/status", s.status)
	b := v1.Group("/boundaries/:boundary", s.known)
	b.GET("/status", s.boundaryStatus)
	b.POST("/policy/validate", s.validate)
	b.POST("/policy", s.publish)
	b.GET("/policy", s.policy)
	b.GET("/policy/history", s.history)
	b.POST("/policy/rollback", s.rollback)
	b.GET("/orders", s.orders)
	b.POST("/orders", s.putOrder)
	b.DELETE("/orders/:id", s.deleteOrder)
	b.GET("/audit", s.audit)
	return e
}

func (s *server) live(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "pass"}) }

// ready says whether this process should get requests. That an etcd is away
// makes it no less useful: it is the one that tells.
func (s *server) ready(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "pass"}) }

// boundary and store of a request that known has let through.
func (s *server) boundary(c *gin.Context) (geo.Boundary, *store.Store) {
	b := geo.Boundary(c.Param("boundary"))
	return b, s.cfg.Stores[b]
}

func (s *server) audit(c *gin.Context) {
	b, st := s.boundary(c)
	limit, ok := limitOf(c, 100, 1000)
	if !ok {
		return
	}
	records, err := st.Audit(c.Request.Context(), b, limit)
	if err != nil {
		s.failWith(c, err)
		return
	}
	reply := client.AuditReply{Records: []client.AuditRecord{}}
	for _, r := range records {
		reply.Records = append(reply.Records, client.AuditRecord{
			Time: r.Time, Author: r.Author, Action: r.Action, Subject: r.Subject, Message: r.Message, Digest: r.Digest, Note: r.Note,
		})
	}
	c.JSON(http.StatusOK, reply)
}

// detached is a request's context for a write: an operator who hangs up in the
// middle must not leave it open whether it took effect.
func detached(c *gin.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Request.Context()), writeLimit)
}
