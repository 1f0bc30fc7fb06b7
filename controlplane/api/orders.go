package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// defaultOrderLife is how long an order counts when nothing is said: a drain
// that was forgotten ends by itself.
const defaultOrderLife = 24 * time.Hour

func (s *server) orderOf(o store.Order) client.Order {
	return client.Order{
		ID: o.ID, Kind: string(o.Kind), Name: o.Name, Action: string(o.Action), Reason: o.Reason, Author: o.Author,
		Created: o.Created, Expires: o.Expires, Genuine: o.Verify(s.trust) == nil,
	}
}

func (s *server) orders(c *gin.Context) {
	b, st := s.boundary(c)
	orders, err := st.Orders(c.Request.Context(), b)
	if err != nil {
		s.failWith(c, err)
		return
	}
	reply := client.OrdersReply{Orders: []client.Order{}}
	for _, o := range orders {
		if o.InForce(time.Now()) {
			reply.Orders = append(reply.Orders, s.orderOf(o))
		}
	}
	c.JSON(http.StatusOK, reply)
}

func (s *server) putOrder(c *gin.Context) {
	b, st := s.boundary(c)
	var req client.OrderRequest
	if !jsonBody(c, &req) {
		return
	}
	life := defaultOrderLife
	if req.For != "" {
		var err error
		if life, err = time.ParseDuration(req.For); err != nil || life < time.Second {
			fail(c, http.StatusBadRequest, client.CodeInvalidRequest, "for: want a duration of at least a second, such as 2h")
			return
		}
	}
	if req.Author == "" {
		req.Author = defaultAuthor
	}
	o := store.NewDrain(b, store.OrderKind(req.Kind), req.Name, life)
	o.Reason, o.Author = req.Reason, req.Author
	o.Sign(s.cfg.Key)
	ctx, cancel := detached(c)
	defer cancel()
	if err := st.PutOrder(ctx, o); err != nil {
		s.failWith(c, err)
		return
	}
	s.log.Info().Str("boundary", string(b)).Str("order", o.ID).Time("expires", o.Expires).Msg("order given")
	reply := s.orderOf(o)
	reply.Warning = s.missing(ctx, b, o)
	c.JSON(http.StatusCreated, reply)
}

// missing says so if nothing has the order's name. It is a warning and no
// refusal: in an emergency the order counts, and what it is about may come
// back.
func (s *server) missing(ctx context.Context, b geo.Boundary, o store.Order) string {
	st := s.cfg.Stores[b]
	var there bool
	switch o.Kind {
	case store.GatewayOrder:
		presence, err := st.ListPresence(ctx, b)
		if err != nil {
			return ""
		}
		for _, p := range presence {
			there = there || p.Gateway == o.Name
		}
	default:
		env, err := st.Current(ctx, b)
		if err != nil {
			return ""
		}
		document, err := env.OpenVerified(b, s.trust)
		if err != nil {
			return ""
		}
		doc, err := policy.Decode(document)
		if err != nil {
			return ""
		}
		there = names(doc, o.Kind, o.Name)
	}
	if there {
		return ""
	}
	return fmt.Sprintf("boundary %s has no %s %q at present: the order counts if one comes", b, o.Kind, o.Name)
}

func names(doc *policy.Document, kind store.OrderKind, name string) bool {
	for _, backend := range doc.Backends {
		if kind == store.BackendOrder && backend.Name == name || kind == store.RegionOrder && string(backend.Region) == name {
			return true
		}
	}
	for _, stamp := range doc.Stamps {
		if kind == store.RegionOrder && string(stamp.Region) == name {
			return true
		}
	}
	return false
}

func (s *server) deleteOrder(c *gin.Context) {
	b, st := s.boundary(c)
	ctx, cancel := detached(c)
	defer cancel()
	id := c.Param("id")
	if err := st.DeleteOrder(ctx, b, id, c.DefaultQuery("author", defaultAuthor)); err != nil {
		s.failWith(c, err)
		return
	}
	s.log.Info().Str("boundary", string(b)).Str("order", id).Msg("order withdrawn")
	c.JSON(http.StatusOK, gin.H{"id": id})
}
