package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// Defaults of what a caller leaves out.
const (
	defaultAuthor  = "admin" // one token for all: who it was, only the author knows
	defaultHistory = 20
)

// judge decodes and validates a document for a boundary. The canonical form is
// nil unless the verdict is valid.
func (s *server) judge(b geo.Boundary, source []byte) (client.Verdict, []byte, error) {
	v := client.Verdict{Faults: []policy.Fault{}, Warnings: []policy.Fault{}}
	doc, err := policy.Decode(source)
	if refused, ok := errors.AsType[*policy.Error](err); ok {
		v.Faults = append(v.Faults, refused.Faults...)
		return v, nil, nil
	}
	if err != nil {
		return v, nil, err
	}
	v.Boundary = doc.Boundary
	if doc.Boundary != b {
		v.Faults = append(v.Faults, policy.Fault{
			Path: "boundary",
			Text: fmt.Sprintf("it is %q, but the policy was sent to boundary %q", doc.Boundary, b),
		})
	}
	faults, warnings := policy.Validate(doc, policy.Options{AllowLoopback: s.cfg.AllowLoopback, Now: time.Now()})
	v.Faults, v.Warnings = append(v.Faults, faults...), append(v.Warnings, warnings...)
	if len(v.Faults) > 0 {
		return v, nil, nil
	}
	canonical, err := policy.Canonical(doc)
	if err != nil {
		return v, nil, err
	}
	// What gateways will do with it, done once here: a document that validates
	// and does not compile must not be published.
	if _, err := policy.Compile(doc, policy.Options{AllowLoopback: s.cfg.AllowLoopback}); err != nil {
		return v, nil, err
	}
	v.Valid, v.Digest = true, policy.Digest(canonical)
	return v, canonical, nil
}

func refuse(c *gin.Context, v client.Verdict) {
	c.AbortWithStatusJSON(http.StatusUnprocessableEntity, client.ErrorReply{
		Error: client.ErrorBody{
			Code: client.CodeRefused, Faults: v.Faults,
			Message: fmt.Sprintf("the policy is refused: %d to mend", len(v.Faults)),
		},
		Verdict: &v,
	})
}

// accepted reads the body and returns its canonical form. When it returns nil
// it has answered.
func (s *server) accepted(c *gin.Context, b geo.Boundary) (client.Verdict, []byte) {
	source, ok := body(c, policy.MaxRawBytes)
	if !ok {
		return client.Verdict{}, nil
	}
	v, canonical, err := s.judge(b, source)
	if err != nil {
		s.failWith(c, err)
		return v, nil
	}
	if !v.Valid {
		refuse(c, v)
		return v, nil
	}
	return v, canonical
}

func (s *server) validate(c *gin.Context) {
	b, _ := s.boundary(c)
	if v, canonical := s.accepted(c, b); canonical != nil {
		c.JSON(http.StatusOK, v)
	}
}

func (s *server) publish(c *gin.Context) {
	b, st := s.boundary(c)
	expect, ok := serialOf(c, "expectSerial")
	if !ok {
		return
	}
	v, canonical := s.accepted(c, b)
	if canonical == nil {
		return
	}
	ctx, cancel := detached(c)
	defer cancel()
	id := c.GetHeader("Idempotency-Key")
	if id == "" {
		id = store.NewID()
	}
	env, err := st.Publish(ctx, b, store.PublishRequest{
		Document: canonical, Author: c.DefaultQuery("author", defaultAuthor), Message: c.Query("message"),
		ExpectSerial: expect, ID: id, Again: c.Query("again") == "true", Trust: s.trust,
	}, s.sign(b))
	if err != nil {
		s.failWith(c, err)
		return
	}
	p := s.publication(b, env)
	p.Unchanged, p.Warnings = env.Publication != id, v.Warnings
	s.log.Info().Str("boundary", string(b)).Uint64("serial", env.Serial).Str("digest", env.Digest).Bool("unchanged", p.Unchanged).Msg("policy published")
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
	ctx, cancel := detached(c)
	defer cancel()
	old, err := st.At(ctx, b, req.Serial)
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
	v, _, err := s.judge(b, document)
	if err != nil {
		s.failWith(c, err)
		return
	}
	if !v.Valid {
		refuse(c, v)
		return
	}
	if req.Author == "" {
		req.Author = defaultAuthor
	}
	env, err := st.Rollback(ctx, b, store.RollbackRequest{
		Serial: req.Serial, Author: req.Author, Message: req.Message, ExpectSerial: req.ExpectSerial, Trust: s.trust,
	}, s.sign(b))
	if err != nil {
		s.failWith(c, err)
		return
	}
	p = s.publication(b, env)
	p.Warnings = v.Warnings
	s.log.Info().Str("boundary", string(b)).Uint64("serial", env.Serial).Uint64("back_to", req.Serial).Msg("policy rolled back")
	c.JSON(http.StatusOK, p)
}
