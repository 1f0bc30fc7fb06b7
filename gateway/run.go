package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/stamp/lifecycle"
)

// run serves until ctx ends, drains, and then ends every goroutine.
func (g *gateway) run(ctx context.Context, stack *lifecycle.Stack) error {
	// The parts work on after ctx has ended: a drain needs them.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	parts, work := errgroup.WithContext(work)
	if err := g.startPolicy(work, parts); err != nil {
		stop()
		return errors.Join(err, parts.Wait(), stack.Unwind(stopLimit)) //nolint:contextcheck // undoing must not be cancelled
	}
	g.startParts(work, parts)
	g.listening.Store(true)
	if g.opt.Listening != nil {
		g.opt.Listening(g.address)
	}
	g.log.Info().Str("url", g.address.URL).Str("admin_url", g.address.AdminURL).Msg("listening")

	select {
	case <-ctx.Done():
	case <-work.Done(): // a part has failed: see what parts.Wait says
	}
	g.drain(stop) //nolint:contextcheck // the drain begins because ctx has ended
	stop()
	return errors.Join(parts.Wait(), stack.Unwind(stopLimit)) //nolint:contextcheck // undoing must not be cancelled
}

// startPolicy brings the last good policy into force before the first request,
// and then follows the source.
func (g *gateway) startPolicy(work context.Context, parts *errgroup.Group) error {
	if file := g.cfg.Policy.File; file != "" {
		if err := g.follower.ReadFile(file); err != nil {
			return err
		}
		parts.Go(func() error { g.follower.WatchFile(work, file); return nil })
		return nil
	}
	if err := g.follower.Load(); err != nil {
		// Not fatal: etcd may have what is good. Without a policy the gateway is not ready.
		g.log.Error().Err(err).Msg("the cache, or a part of it, is not used")
	}
	parts.Go(func() error { return g.store.Watch(work, g.cfg.Boundary, g.follower) })
	parts.Go(func() error { g.follower.KeepTrying(work); return nil })
	digests := g.digests()
	parts.Go(func() error { return digests.Watch(work) })
	parts.Go(func() error { digests.Write(work); return nil })
	parts.Go(func() error {
		presence := func() store.Presence { return g.operators.Presence(g.address.URL, g.address.AdminURL) }
		return g.store.AnnouncePresence(work, g.cfg.Boundary, presence, g.follower.Changed())
	})
	return nil
}

func (g *gateway) startParts(work context.Context, parts *errgroup.Group) {
	parts.Go(func() error { return g.credentials.Run(work) })
	parts.Go(func() error { g.watchHealth(work); return nil })
	parts.Go(func() error { g.prober.Run(work); return nil })
	if g.gossip != nil {
		parts.Go(func() error { g.gossip.Run(work); return nil })
	}
	parts.Go(func() error {
		if g.public.TLSConfig != nil {
			return served(g.public.ServeTLS(g.publicL, "", ""))
		}
		return served(g.public.Serve(g.publicL))
	})
	if g.admin != nil {
		parts.Go(func() error { return served(g.admin.Serve(g.adminL)) })
	}
}

func isClosed(err error) bool { return err == nil || errors.Is(err, net.ErrClosed) }

// served drops the errors that every stop has.
func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) || isClosed(err) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// watchHealth evaluates the gateway's health each period, and ends orders at
// their time: nothing arrives when one merely runs out.
func (g *gateway) watchHealth(ctx context.Context) {
	tick := time.NewTicker(health.Period)
	defer tick.Stop()
	for {
		now := time.Now()
		if next, ok := g.follower.NextExpiry(); ok && !now.Before(next) {
			g.follower.Expire(now)
		}
		g.tellEnded(g.running.Expire(now))
		g.evaluate(now)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// takeOrders puts orders in force. A drain shows at once.
func (g *gateway) takeOrders(all []store.Order) {
	g.drains.Take(all)
	g.evaluate(time.Now())
}

// evaluate takes one look at the gateway's health, and says so once when requests
// are served from now on: /health/ready agrees by then.
func (g *gateway) evaluate(now time.Time) {
	before := g.machine.Summary()
	g.watch.Look(now)
	after := g.machine.Summary()
	if before.Ready != after.Ready || before.Stamp != after.Stamp || before.Draining != after.Draining {
		g.follower.Touch() // presence tells it
	}
	if g.listening.Load() && after.Ready.Good() {
		g.ready.Do(g.announceReady)
	}
}

func (g *gateway) announceReady() {
	a := g.addresses()
	g.log.Info().Str("url", a.URL).Str("admin_url", a.AdminURL).Str("gossip", a.Gossip).Msg("ready")
	g.notify(lifecycle.NotifyReady)
	if g.opt.Ready != nil {
		g.opt.Ready(a)
	}
}

// addresses adds what is known only once gossip listens.
func (g *gateway) addresses() Addresses {
	a := g.address
	if g.gossip != nil {
		if local := g.gossip.Addr(); local.IsValid() {
			a.Gossip = local.String()
		}
	}
	return a
}

// drain is the written order of a stop: see lifecycle.Drain. One that had to cut
// streams short is still a stop as it was asked for.
func (g *gateway) drain(stop context.CancelFunc) {
	hurry := g.opt.Hurry
	if hurry == nil {
		hurry = context.Background()
	}
	err := lifecycle.Drain(hurry, lifecycle.Steps{
		Unready: func() {
			g.drains.Stop()
			g.machine.Drain()
			g.notify(lifecycle.NotifyStopping)
		},
		Notice:        time.Duration(g.cfg.Drain.Notice),
		StopAccepting: func(context.Context) error { return g.stopAccepting() },
		Finish:        g.inflight.Wait,
		Timeout:       time.Duration(g.cfg.Drain.Timeout),
		Cut:           g.cut,
		LeaveGossip:   g.leaveGossip,
		Close: func(ctx context.Context) error {
			stop()
			return g.closeServers(ctx)
		},
		Report: func(r lifecycle.StepReport) {
			g.log.Info().Str("step", r.Step).Dur("took_ms", r.Took).Err(r.Err).Msg("drain")
		},
	})
	if err != nil {
		g.log.Warn().Err(err).Int("in_flight", g.inflight.Count()).Msg("drain was cut short")
	}
}

// leaveGossip says goodbye to the stamp.
func (g *gateway) leaveGossip(ctx context.Context) error {
	if g.gossip == nil {
		return nil
	}
	return g.gossip.Leave(ctx)
}

// stopAccepting closes the public listener. Kept-alive connections are not cut:
// since the drain began every answer has asked for their end, and closing one
// that idles could cross with a request that is on its way.
func (g *gateway) stopAccepting() error {
	if err := g.publicL.Close(); !isClosed(err) {
		return err
	}
	return nil
}

// cut ends the streams that did not finish: each tells its client in its own
// form.
func (g *gateway) cut(ctx context.Context) error {
	g.cutStreams(lifecycle.ErrDraining)
	return g.inflight.Wait(ctx)
}

// closeServers ends the servers, and lets a request finish that came at the
// very end.
func (g *gateway) closeServers(ctx context.Context) error {
	errs := []error{g.public.Shutdown(ctx), g.public.Close()}
	if g.admin != nil {
		errs = append(errs, g.admin.Close())
	}
	for i, err := range errs {
		if isClosed(err) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

func (g *gateway) notify(how func() error) {
	if err := how(); err != nil {
		g.log.Warn().Err(err).Msg("the service manager was not told")
	}
}
