// Package follow keeps a gateway on its boundary's policy: it verifies, compiles
// and puts in force what the store or a file brings, refuses what may not be
// followed, and keeps the last good policy on disk.
//
// Nothing it is told can widen what the gateway's own configuration allows, and
// losing the source never removes what is in force. Requests read the snapshot
// without a lock and never wait for this package. Only the gateway's wiring
// uses it.
package follow

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Config is what a Follower needs.
type Config struct {
	Local    geo.Residency     // the gateway's own limits; its Boundary is the boundary
	Verifier *signing.Verifier // nil: policies come from a file, unsigned
	CacheDir string            // "": nothing is kept on disk
	// AcceptOlder is the one serial below the highest that was ever followed, or cached
	// where that is not known, which may be put in force all the same: an operator's
	// word. 0: none.
	AcceptOlder uint64
	// Prepare is called with each new snapshot before requests see it. It ends what
	// the snapshot does not allow, and makes all that its requests need, beside what
	// requests of the one before need. retire, which is called once requests see the
	// new one, drops what only the one before needed. Neither can fail.
	Prepare func(*policy.Snapshot) (retire func())
	// Ordered is called when the orders in force have changed.
	Ordered func([]store.Order)
	Log     zerolog.Logger
}

// A Follower holds the policy in force. It implements store.Handler.
type Follower struct {
	cfg     Config
	current atomic.Pointer[policy.Snapshot]
	changed chan struct{} // signalled after every change of State

	advancing sync.Mutex // orders whole advances; requests never take it
	// Guarded by advancing:
	disk disk
	seen uint64 // the highest serial that was followed
	// In force and not on disk:
	unkept       *store.Envelope
	unkeptSeen   bool // seen
	unkeptOrders *[]store.Order

	enforcing sync.Mutex // orders what Ordered is told; requests never take it

	mu     sync.Mutex // guards state and orders; never held across a call out
	state  State
	orders []store.Order
}

// State is what a follower says of itself.
type State struct {
	AppliedSerial uint64
	AppliedDigest string
	AppliedAt     time.Time // by this machine's clock
	FromDisk      bool      // what is in force came from the cache
	RefusedSerial uint64
	RefusedReason string // "" when nothing newer was refused
	SeenSerial    uint64 // the highest that was ever followed, as far as is known
	Unkept        string // what the disk does not take, in words; "" if all is kept
	Connected     bool   // the source was heard and is not known to be silent
	Orders        []store.Order
}

// New returns a follower with no policy in force. It does no I/O.
func New(cfg Config) *Follower {
	return &Follower{cfg: cfg, changed: make(chan struct{}, 1), disk: systemDisk()}
}

// Snapshot returns the policy in force, or nil.
func (f *Follower) Snapshot() *policy.Snapshot { return f.current.Load() }

// Changed is signalled when State has changed. One receiver.
func (f *Follower) Changed() <-chan struct{} { return f.changed }

// State returns what is in force and what was refused.
func (f *Follower) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.state
	s.Orders = append([]store.Order(nil), f.orders...)
	return s
}

// Policy implements store.Handler. A replay of what is in force is no news; what
// is older, foreign, unsigned or does not compile is refused and reported.
func (f *Follower) Policy(e store.Envelope) {
	f.advancing.Lock()
	defer f.advancing.Unlock()
	if f.inForce(e) {
		return
	}
	if err := f.advance(e, false); err != nil {
		f.refuse(e.Serial, err)
		return
	}
	// It is in force before it is on disk: a right that is withdrawn must not wait for
	// a disk that hangs. What the disk does not take is shown.
	f.noteSeen(max(f.seen, e.Serial))
	f.unkept, f.unkeptSeen = &e, true
	f.keep()
}

// advance verifies, compiles and puts in force. All that can fail comes before
// the one swap that requests see.
func (f *Follower) advance(e store.Envelope, fromDisk bool) error {
	if now := f.Snapshot(); now != nil && e.Serial <= now.Serial() {
		return fmt.Errorf("serial %d is not above %d, which is in force", e.Serial, now.Serial())
	}
	source, err := e.OpenVerified(f.cfg.Local.Boundary, f.cfg.Verifier)
	if err != nil {
		return err
	}
	if e.Serial < f.seen && e.Serial != f.cfg.AcceptOlder {
		return fmt.Errorf("serial %d is older than %d, which this gateway has followed: it may let in what was shut out since. "+
			"Publish again (the control plane takes a higher serial), or set policy.acceptOlder: %d in the gateway's configuration if it may be served", e.Serial, f.seen, e.Serial)
	}
	if err := f.apply(source, version{e.Serial, e.Digest, fromDisk}); err != nil {
		return ofVersion(err, e.Publisher, telemetry.Version())
	}
	return nil
}

// ofVersion says which version to upgrade to, if a policy was published by another
// one than ours: what is wrong with it may be what only that version knows. It
// stands first, since a long reason is cut.
func ofVersion(err error, publisher, own string) error {
	if publisher == "" || publisher == own {
		return err
	}
	return fmt.Errorf("published by version %s, and this gateway is %s: what it does not know needs the gateway upgraded first: %w", publisher, own, err)
}

// version is what identifies a policy beside its content.
type version struct {
	serial   uint64
	digest   string // of the document as it came
	fromDisk bool
}

func (f *Follower) apply(source []byte, v version) error {
	doc, err := policy.Decode(source)
	if err != nil {
		return fmt.Errorf("decode policy %d: %w", v.serial, err)
	}
	snapshot, err := policy.Compile(doc, policy.Options{
		Serial: v.serial, Digest: v.digest, Local: &f.cfg.Local, AllowLoopback: f.cfg.Local.AllowLoopback,
	})
	if err != nil {
		return fmt.Errorf("compile policy %d: %w", v.serial, err)
	}
	retire := func() {}
	if f.cfg.Prepare != nil {
		retire = f.cfg.Prepare(snapshot)
	}
	f.current.Store(snapshot)
	retire()
	f.set(func(s *State) {
		s.AppliedSerial, s.AppliedDigest, s.AppliedAt = v.serial, v.digest, time.Now()
		s.FromDisk = v.fromDisk
		s.RefusedSerial, s.RefusedReason = 0, ""
	})
	f.cfg.Log.Info().Uint64("serial", v.serial).Str("digest", v.digest).Bool("from_disk", v.fromDisk).Msg("policy in force")
	return nil
}

func (f *Follower) noteSeen(serial uint64) {
	f.seen = serial
	f.mu.Lock()
	f.state.SeenSerial = serial
	f.mu.Unlock()
}

// inForce recognises a replay, and forgets a refusal once the source shows what
// is in force again.
func (f *Follower) inForce(e store.Envelope) bool {
	same := false
	f.set(func(s *State) {
		if same = s.AppliedSerial == e.Serial && s.AppliedDigest == e.Digest; same {
			s.RefusedSerial, s.RefusedReason = 0, ""
		}
	})
	return same
}

// PolicyInvalid implements store.Handler.
func (f *Follower) PolicyInvalid(serial uint64, err error) {
	if errors.Is(err, store.ErrNoPolicy) && f.Snapshot() == nil {
		return // nothing was ever published: not a fault
	}
	f.refuse(serial, err)
}

// reasonLimit keeps a reason within what presence and a status page show.
const reasonLimit = 500

func (f *Follower) refuse(serial uint64, err error) {
	why := reason(err)
	f.set(func(s *State) { s.RefusedSerial, s.RefusedReason = serial, why })
	f.cfg.Log.Error().Uint64("serial", serial).Str("reason", why).Msg("policy refused, the last good one stays")
}

func reason(err error) string {
	text := err.Error()
	if len(text) > reasonLimit {
		text = text[:reasonLimit] + "…"
	}
	return text
}

// Orders implements store.Handler: those that are signed for this boundary
// count, the others are reported. They are in force before they are on disk: an
// operator who drains does not wait for a file.
func (f *Follower) Orders(all []store.Order) {
	good := f.verified(all)
	f.enforcing.Lock()
	f.enforce(good, time.Now())
	f.enforcing.Unlock()
	f.advancing.Lock()
	defer f.advancing.Unlock()
	f.unkeptOrders = &good
	f.keep()
}

func (f *Follower) verified(all []store.Order) []store.Order {
	var good []store.Order
	for _, o := range all {
		err := errors.New("no key is trusted")
		if f.cfg.Verifier != nil {
			err = o.Verify(f.cfg.Verifier)
		}
		if err == nil && o.Boundary != f.cfg.Local.Boundary {
			err = fmt.Errorf("it is of boundary %s", o.Boundary)
		}
		if err != nil {
			f.cfg.Log.Error().Err(err).Str("kind", string(o.Kind)).Msg("order refused")
			continue
		}
		good = append(good, o)
	}
	return good
}

// Expire drops the orders whose time has passed and tells what is in force. The
// gateway calls it now and then: nothing arrives when an order merely ends.
func (f *Follower) Expire(now time.Time) {
	f.enforcing.Lock()
	defer f.enforcing.Unlock()
	f.mu.Lock()
	all := f.orders
	f.mu.Unlock()
	f.enforce(all, now)
}

// enforce tells which of the orders are in force, and only then shows them. The
// caller holds enforcing: else an order that runs out while another one comes
// could undo that.
func (f *Follower) enforce(all []store.Order, now time.Time) {
	var inForce []store.Order
	for _, o := range all {
		if o.InForce(now) {
			inForce = append(inForce, o)
		}
	}
	if f.cfg.Ordered != nil {
		f.cfg.Ordered(inForce)
	}
	f.mu.Lock()
	f.orders = inForce
	f.mu.Unlock()
	f.Touch()
}

// NextExpiry returns when the next order ends; false if there is none.
func (f *Follower) NextExpiry() (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var soonest time.Time
	for _, o := range f.orders {
		if soonest.IsZero() || o.Expires.Before(soonest) {
			soonest = o.Expires
		}
	}
	return soonest, !soonest.IsZero()
}

// Connected implements store.Handler.
func (f *Follower) Connected(up bool) {
	f.set(func(s *State) { s.Connected = up })
}

func (f *Follower) set(change func(*State)) {
	f.mu.Lock()
	change(&f.state)
	f.mu.Unlock()
	f.Touch()
}

// Touch signals Changed for a reason of the caller's.
func (f *Follower) Touch() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}
