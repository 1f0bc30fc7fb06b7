package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Why a session of a reflector ended.
var (
	errRelist    = errors.New("a full list is due")
	errSilent    = errors.New("the watch was silent for too long")
	errWentBack  = errors.New("the store's revision went back")
	errOtherEtcd = errors.New("another cluster answers")
	errClosed    = errors.New("the watch was closed")
)

// A reflector keeps a copy of a range of keys, by these rules:
//
//   - A session lists the whole range at one revision and watches what follows;
//     whatever goes wrong ends it, and the next one lists again. So there is one
//     path, and it is walked every few minutes also when all is well.
//   - The revision moves only by a list or an applied event, never because time
//     passed.
//   - The watch demands a leader, and is asked for a sign of life all the time:
//     a connection can be dead without anyone saying so. After too long a
//     silence it is closed, and the next one goes to the next endpoint.
//   - Losing etcd changes nothing of the copy.
type reflector struct {
	store     *Store
	name      string // for the log
	from, to  string // the range, without to
	deliver   func(state map[string][]byte, changed []string)
	connected func(bool)
	problem   func(error) // why it is not connected; nil: it is

	state    map[string][]byte // no value is nil: that is a key which is gone
	cluster  uint64            // of the latest list
	revision int64             // of state
	endpoint int               // counts on from one connection to the next
	online   bool
}

// run blocks until ctx ends.
func (r *reflector) run(ctx context.Context) {
	r.state = make(map[string][]byte)
	r.endpoint = rand.N(len(r.store.cfg.Endpoints))
	r.connected(false)
	for try := 1; ctx.Err() == nil; try++ {
		began := time.Now()
		err := r.connection(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > r.store.timing.Silence {
			try = 1
		}
		r.report(try, err)
		r.endpoint++
		if !sleep(ctx, r.store.backoff(try)) {
			return
		}
	}
}

func (r *reflector) report(try int, err error) {
	level := zerolog.DebugLevel
	if r.online || try == 1 { // once per outage, not once per try
		level = zerolog.WarnLevel
	}
	r.store.log.WithLevel(level).Err(telemetry.Foreign(err)).Str("watch", r.name).Msg("watch interrupted")
	r.problem(err)
	r.setOnline(false)
}

func (r *reflector) setOnline(v bool) {
	if r.online != v {
		r.online = v
		r.connected(v)
	}
}

// connection runs sessions over one connection to one endpoint until one ends
// for a reason that a new list over the same connection cannot mend.
func (r *reflector) connection(ctx context.Context) error {
	endpoints := r.store.cfg.Endpoints
	client, err := r.store.dial([]string{endpoints[r.endpoint%len(endpoints)]})
	if err != nil {
		return err
	}
	defer client.Close()
	for {
		err := r.session(ctx, client)
		switch {
		case errors.Is(err, errRelist):
		case errors.Is(err, rpctypes.ErrCompacted):
			r.store.log.Info().Str("watch", r.name).Int64("revision", r.revision).Msg("compacted past the watch, listing again")
			// A list is at the newest revision, so this cannot repeat at once
			// unless compaction is faster than the network.
			if !sleep(ctx, r.store.backoff(1)) {
				return ctx.Err()
			}
		default:
			return err
		}
	}
}

func (r *reflector) session(ctx context.Context, client *clientv3.Client) error {
	if err := r.list(ctx, client); err != nil {
		return err
	}
	wctx, cancel := context.WithCancelCause(clientv3.WithRequireLeader(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	// Opening a watch blocks while the connection is dead, so the watchdog runs
	// before it.
	timing := r.store.timing
	watchdog := time.AfterFunc(timing.Silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	relist := time.NewTimer(timing.Relist*4/5 + rand.N(timing.Relist*2/5+1))
	defer relist.Stop()

	// From the listed revision and not from the next: a server gives no sign of
	// life on a watch that begins in its future, and where nobody writes, the
	// next revision stays there. What is replayed of this one, take leaves out.
	events := client.Watch(wctx, r.from, clientv3.WithRange(r.to), clientv3.WithRev(r.revision), clientv3.WithFragment())
	wg.Go(func() { askForProgress(wctx, client, timing.Progress) })
	wg.Go(func() { cancel(r.untilRefused(wctx, client)) })
	for {
		select {
		case <-relist.C:
			return errRelist
		case resp, ok := <-events:
			if !ok {
				return whyClosed(wctx)
			}
			if err := r.take(resp); err != nil {
				return err
			}
			watchdog.Reset(timing.Silence)
		}
	}
}

func whyClosed(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return errClosed
}

// askForProgress asks the server for a sign of life again and again. The answer
// comes as a response of the watch that has no events.
func askForProgress(ctx context.Context, client *clientv3.Client, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// It fails or blocks when the stream is down, for which the watchdog
			// is there.
			rctx, cancel := context.WithTimeout(ctx, every)
			_ = client.RequestProgress(rctx)
			cancel()
		}
	}
}

// untilRefused asks again and again whether the range may still be read, and
// returns the refusal: a server goes on with a watch whose right was withdrawn, and
// may tell it nothing more. An etcd that is away refuses nothing; the watchdog sees
// to that.
func (r *reflector) untilRefused(ctx context.Context, client *clientv3.Client) error {
	tick := time.NewTicker(r.store.timing.Progress)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		rctx, cancel := context.WithTimeout(ctx, r.store.timing.Request)
		// Any member knows who may read: the leader need not be asked.
		_, err := client.Get(rctx, r.from, clientv3.WithRange(r.to), clientv3.WithCountOnly(), clientv3.WithSerializable())
		cancel()
		if err != nil && ctx.Err() == nil && !passes(err) {
			return fmt.Errorf("may no longer read: %w", err)
		}
	}
}

// list reads the whole range at one revision and delivers what differs from the
// copy.
func (r *reflector) list(ctx context.Context, client *clientv3.Client) error {
	lctx, cancel := context.WithTimeout(ctx, r.store.timing.Request)
	defer cancel()
	resp, err := client.Get(lctx, r.from, clientv3.WithRange(r.to))
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if r.cluster != 0 && (resp.Header.ClusterId != r.cluster || resp.Header.Revision < r.revision) {
		r.store.log.Error().Str("watch", r.name).Int64("revision", resp.Header.Revision).Int64("before", r.revision).
			Bool("other_cluster", resp.Header.ClusterId != r.cluster).
			Msg("etcd was restored or replaced: what it holds is older or another than what was known")
	}
	listed := make(map[string][]byte, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		if r.within(kv) {
			listed[string(kv.Key)] = valueOf(kv)
		}
	}
	var changed []string
	for key, value := range listed {
		if old, ok := r.state[key]; !ok || !bytes.Equal(old, value) {
			changed = append(changed, key)
		}
	}
	for key := range r.state {
		if _, ok := listed[key]; !ok {
			changed = append(changed, key)
		}
	}
	slices.Sort(changed)
	r.state, r.revision, r.cluster = listed, resp.Header.Revision, resp.Header.ClusterId
	r.deliver(r.state, changed)
	r.problem(nil)
	r.setOnline(true)
	return nil
}

// take applies one response of the watch. The client hands over whole revisions:
// it puts fragments together before.
func (r *reflector) take(resp clientv3.WatchResponse) error {
	if err := resp.Err(); err != nil {
		return err
	}
	if resp.Header.ClusterId != r.cluster {
		return errOtherEtcd
	}
	if resp.Header.Revision < r.revision {
		return errWentBack
	}
	var changed []string
	for _, e := range resp.Events {
		// Kv.ModRevision is that of the event, also of a deletion.
		if e.Kv.ModRevision <= r.revision || !r.within(e.Kv) {
			continue // replayed, or not ours
		}
		key := string(e.Kv.Key)
		if e.Type == mvccpb.DELETE {
			delete(r.state, key)
		} else {
			r.state[key] = valueOf(e.Kv)
		}
		if !slices.Contains(changed, key) {
			changed = append(changed, key)
		}
	}
	if n := len(resp.Events); n > 0 {
		r.revision = max(r.revision, resp.Events[n-1].Kv.ModRevision)
	}
	if len(changed) > 0 {
		r.deliver(r.state, changed)
	}
	return nil
}

// within filters in the client what the server should never have sent: the
// residency promise does not rest on another program's access control.
func (r *reflector) within(kv *mvccpb.KeyValue) bool {
	key := string(kv.Key)
	if r.from <= key && key < r.to {
		return true
	}
	r.store.log.Error().Str("watch", r.name).Str("key", clip(key, 100)).Msg("etcd sent a key that was not asked for")
	return false
}

func valueOf(kv *mvccpb.KeyValue) []byte {
	if kv.Value == nil {
		return []byte{} // there, but empty
	}
	return kv.Value
}
