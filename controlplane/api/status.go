package api

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
)

// statusLimit bounds how long a status waits for one boundary's etcd. All are
// asked at once.
const statusLimit = 3 * time.Second

func (s *server) status(c *gin.Context) {
	out := client.Status{
		Version: s.cfg.Version, PublicKey: s.cfg.Key.Public().String(),
		Boundaries: make([]client.BoundaryStatus, len(s.boundaries)),
	}
	ctx := c.Request.Context()
	var wg sync.WaitGroup
	for i, b := range s.boundaries {
		wg.Go(func() { out.Boundaries[i] = s.statusOf(ctx, b) })
	}
	wg.Wait()
	c.JSON(http.StatusOK, out)
}

func (s *server) boundaryStatus(c *gin.Context) {
	b, _ := s.boundary(c)
	out := s.statusOf(c.Request.Context(), b)
	out.PublicKey = s.cfg.Key.Public().String()
	c.JSON(http.StatusOK, out)
}

// statusOf reports what can be known. That etcd is away is a part of the answer.
func (s *server) statusOf(ctx context.Context, b geo.Boundary) client.BoundaryStatus {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	st := s.cfg.Stores[b]
	out := client.BoundaryStatus{Boundary: b, Gateways: []client.Gateway{}, Orders: []client.Order{}}
	env, err := st.Current(ctx, b)
	switch {
	case err == nil:
		p := s.publication(b, env)
		out.Policy = &p
	case !errors.Is(err, store.ErrNoPolicy):
		out.Problem = problem(err)
	}
	if _, away := errors.AsType[*store.UnavailableError](err); away {
		return out
	}
	presence, perr := st.ListPresence(ctx, b)
	orders, oerr := st.Orders(ctx, b)
	digests, derr := st.Digests(ctx, b)
	out.Stamps = digests
	if err := errors.Join(perr, oerr, derr); err != nil {
		out.Problem = problem(err)
		return out
	}
	out.Reachable = true
	for _, p := range presence {
		out.Gateways = append(out.Gateways, gatewayOf(p, out.Policy))
	}
	for _, o := range orders {
		if o.InForce(time.Now()) {
			out.Orders = append(out.Orders, s.orderOf(o))
		}
	}
	return out
}

// problem is an error's text for operators: addresses are theirs to know.
func problem(err error) string {
	if _, away := errors.AsType[*store.UnavailableError](err); away {
		return "etcd is not available"
	}
	return err.Error()
}

func gatewayOf(p store.Presence, current *client.Publication) client.Gateway {
	return client.Gateway{
		Name: p.Gateway, Region: p.Region, Version: p.Version,
		AppliedSerial: p.AppliedSerial, AppliedDigest: p.AppliedDigest,
		RefusedSerial: p.RefusedSerial, RefusedReason: p.RefusedReason, Unkept: p.Unkept,
		Current: current != nil && p.AppliedSerial == current.Serial && p.AppliedDigest == current.Digest,
		Health:  p.Health, Draining: p.Draining, Started: p.Started, URL: p.URL, AdminURL: p.AdminURL,
	}
}
