package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// Defaults of what a caller leaves out.
const (
	defaultAuthor  = "admin" // one token for all: who it was, only the author knows
	defaultHistory = 20
)

// judge validates a document for a boundary.
func (s *server) judge(b geo.Boundary, source []byte) (policy.Verdict, *policy.Document, error) {
	v, doc, err := policy.Judge(source, policy.Options{
		Digest: signing.Digest(source), AllowLoopback: s.cfg.AllowLoopback, Now: time.Now(),
	})
	if err != nil || doc == nil || doc.Boundary == b {
		return v, doc, err
	}
	v.Valid, v.Digest = false, ""
	v.Faults = slices.Insert(v.Faults, 0, policy.Fault{
		Path: "boundary",
		Text: fmt.Sprintf("it is %q, but the policy was sent to boundary %q", doc.Boundary, b),
	})
	return v, doc, nil
}

// sameAs tells the store whether a document in force says what this one does.
func sameAs(doc *policy.Document) func(inForce []byte) bool {
	return func(inForce []byte) bool {
		now, err := policy.Decode(inForce)
		return err == nil && policy.Equal(now, doc)
	}
}

func refuse(c *gin.Context, v policy.Verdict) {
	c.AbortWithStatusJSON(http.StatusUnprocessableEntity, client.ErrorReply{
		Error: client.ErrorBody{
			Code: client.CodeRefused, Faults: v.Faults,
			Message: fmt.Sprintf("the policy is refused: %d faults", len(v.Faults)),
		},
		Verdict: &v,
	})
}

// A candidate is a document that may be published.
type candidate struct {
	source  []byte
	doc     *policy.Document
	verdict policy.Verdict
}

// accepted reads the body. When it returns false it has answered.
func (s *server) accepted(c *gin.Context, b geo.Boundary) (candidate, bool) {
	source, ok := body(c, policy.MaxRawBytes)
	if !ok {
		return candidate{}, false
	}
	return s.valid(c, b, source)
}

// valid judges a document. When it returns false it has answered.
func (s *server) valid(c *gin.Context, b geo.Boundary, source []byte) (candidate, bool) {
	v, doc, err := s.judge(b, source)
	if err != nil {
		s.failWith(c, err)
		return candidate{}, false
	}
	if !v.Valid {
		refuse(c, v)
		return candidate{}, false
	}
	return candidate{source, doc, v}, true
}

func (s *server) validate(c *gin.Context) {
	b, _ := s.boundary(c)
	if next, ok := s.accepted(c, b); ok {
		c.JSON(http.StatusOK, next.verdict)
	}
}

func (s *server) publish(c *gin.Context) {
	b, st := s.boundary(c)
	expect, ok := serialOf(c, "expectSerial")
	if !ok {
		return
	}
	next, ok := s.accepted(c, b)
	if !ok {
		return
	}
	s.put(c, st, next, store.PublishRequest{
		Author: c.DefaultQuery("author", defaultAuthor), Message: c.Query("message"),
		ExpectSerial: expect, ID: c.GetHeader("Idempotency-Key"), Again: c.Query("again") == "true",
	})
}

// put publishes a document that was found valid, and answers.
func (s *server) put(c *gin.Context, st *store.Store, next candidate, req store.PublishRequest) {
	ctx, cancel := detached(c)
	defer cancel()
	if req.ID == "" {
		req.ID = store.NewID()
	}
	req.Document, req.Same, req.Publisher, req.Trust = next.source, sameAs(next.doc), s.cfg.Version, s.trust
	b := next.doc.Boundary
	env, err := st.Publish(ctx, b, req, s.cfg.Key)
	if err != nil {
		s.failWith(c, err)
		return
	}
	p := s.publication(b, env)
	p.Unchanged, p.Warnings = env.Publication != req.ID, next.verdict.Warnings
	s.log.Info().Str("boundary", string(b)).Uint64("serial", env.Serial).Uint64("rollback_of", req.RollbackOf).
		Str("digest", env.Digest).Bool("unchanged", p.Unchanged).Msg("policy published")
	c.JSON(http.StatusOK, p)
}

// publication describes an envelope, and says whether it is genuine.
func (s *server) publication(b geo.Boundary, env store.Envelope) client.Publication {
	p, _ := s.opened(b, env)
	return p
}

func (s *server) opened(b geo.Boundary, env store.Envelope) (client.Publication, []byte) {
	p := client.Publication{
		Serial: env.Serial, Boundary: env.Boundary, Digest: env.Digest,
		Author: env.Author, Message: env.Message, Time: env.Time, Genuine: true, Note: env.Note,
	}
	document, err := env.OpenVerified(b, s.trust)
	if err != nil {
		p.Genuine, p.Problem = false, err.Error()
	}
	return p, document
}

func (s *server) policy(c *gin.Context) {
	b, st := s.boundary(c)
	serial, ok := serialOf(c, "serial")
	if !ok {
		return
	}
	var env store.Envelope
	var err error
	if serial == nil {
		env, err = st.Current(c.Request.Context(), b)
	} else {
		env, err = st.At(c.Request.Context(), b, *serial)
	}
	if err != nil {
		s.failWith(c, err)
		return
	}
	p, document := s.opened(b, env)
	c.Header("X-Stampgate-Policy", strconv.FormatUint(env.Serial, 10))
	if !wantsYAML(c.GetHeader("Accept")) {
		c.JSON(http.StatusOK, client.Policy{Publication: p, Document: string(document)})
		return
	}
	if !p.Genuine {
		fail(c, http.StatusBadGateway, client.CodeNotGenuine, p.Problem)
		return
	}
	c.Data(http.StatusOK, "application/yaml", document)
}

func wantsYAML(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		mediaType, _, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(mediaType)) {
		case "application/yaml", "application/x-yaml", "text/yaml":
			return true
		}
	}
	return false
}

func (s *server) history(c *gin.Context) {
	b, st := s.boundary(c)
	limit, ok := limitOf(c, defaultHistory, store.HistoryKept)
	if !ok {
		return
	}
	envelopes, err := st.History(c.Request.Context(), b, limit)
	if err != nil {
		s.failWith(c, err)
		return
	}
	reply := client.HistoryReply{History: []client.Publication{}}
	for _, env := range envelopes {
		reply.History = append(reply.History, s.publication(b, env))
	}
	c.JSON(http.StatusOK, reply)
}

func (s *server) rollback(c *gin.Context) {
	b, st := s.boundary(c)
	var req client.RollbackRequest
	if !jsonBody(c, &req) {
		return
	}
	old, err := st.At(c.Request.Context(), b, req.Serial)
	if err != nil {
		s.failWith(c, err)
		return
	}
	p, document := s.opened(b, old)
	if !p.Genuine {
		fail(c, http.StatusBadGateway, client.CodeNotGenuine, p.Problem)
		return
	}
	// What was valid then need not be now: the rules or this program changed.
	next, ok := s.valid(c, b, document)
	if !ok {
		return
	}
	if req.Author == "" {
		req.Author = defaultAuthor
	}
	s.put(c, st, next, store.PublishRequest{
		Author: req.Author, Message: req.Message, ExpectSerial: req.ExpectSerial, RollbackOf: req.Serial,
	})
}
