// Package bytebudget bounds the memory that requests make a process hold: bodies
// that came in, and answers that have not gone out.
//
// A Budget is the whole; every client and every connection has an Account with a
// bound of its own beside it. A Hold is what one request has taken of all of them,
// and gives back at its end. What does not fit is refused at once: nobody waits
// here. It is pure: it allocates nothing of what it counts but in Buffer, does no
// I/O, and holds no lock across a call out. Serve, which reads bodies, relay, which
// holds answers, and edge, which has the account of each connection, use it.
package bytebudget

import (
	"sync"
	"sync/atomic"
)

// A Cause says which bound refused bytes. The set is closed: it is a label.
type Cause string

// The causes, from the widest bound to the narrowest.
const (
	None         Cause = "" // not refused
	OfProcess    Cause = "process"
	OfClient     Cause = "client"
	OfConnection Cause = "connection"
)

// A Budget is the process's. The zero Budget has no room; use New.
type Budget struct {
	limit, perClient int64
	held             atomic.Int64

	mu      sync.Mutex          // guards clients and users in it
	clients map[string]*Account // those that hold a place
}

// New returns a budget of limit bytes, of which one client may hold perClient.
func New(limit, perClient int64) *Budget {
	return &Budget{limit: limit, perClient: perClient, clients: make(map[string]*Account)}
}

// Held is how many bytes are taken now.
func (b *Budget) Held() int64 { return b.held.Load() }

// An Account bounds what one client, or one connection, holds.
type Account struct {
	limit int64
	held  atomic.Int64
	users int // holds that name it; guarded by the budget's mu
}

// NewAccount returns an account of limit bytes, for a connection.
func NewAccount(limit int64) *Account { return &Account{limit: limit} }

// Held is how many bytes are taken now.
func (a *Account) Held() int64 { return a.held.Load() }

// take adds n if it fits. Two takers at the edge may both be refused, though one
// would have fitted; none is let beyond.
func take(held *atomic.Int64, limit, n int64) bool {
	if held.Add(n) <= limit {
		return true
	}
	held.Add(-n)
	return false
}

// A Hold is what one request holds. Its methods are for one goroutine at a time.
// The nil Hold is without bounds: it is for callers that have none.
type Hold struct {
	budget     *Budget
	name       string
	client     *Account
	connection *Account // nil: not bounded
	body       int64
	answer     int64
	refused    Cause
}

// Open begins a hold for a request of a client. Release must follow. connection
// may be nil. The nil budget gives holds without bounds.
func (b *Budget) Open(client string, connection *Account) *Hold {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.clients[client]
	if a == nil {
		a = NewAccount(b.perClient)
		b.clients[client] = a
	}
	a.users++
	return &Hold{budget: b, name: client, client: a, connection: connection}
}

// Another begins a hold for the same request, to be used by another goroutine at the
// same time. Release must follow.
func (h *Hold) Another() *Hold {
	if h == nil {
		return nil
	}
	return h.budget.Open(h.name, h.connection)
}

// TakeBody takes n bytes for what the client sent and reports whether they fit.
func (h *Hold) TakeBody(n int64) bool {
	if h == nil {
		return true
	}
	if !h.take(n) {
		return false
	}
	h.body += n
	return true
}

// TakeAnswer takes n bytes for an answer that the client has not accepted yet.
// Those count for its connection as well.
func (h *Hold) TakeAnswer(n int64) bool {
	if h == nil {
		return true
	}
	if h.connection != nil && !take(&h.connection.held, h.connection.limit, n) {
		h.refused = OfConnection
		return false
	}
	if h.take(n) {
		h.answer += n
		return true
	}
	if h.connection != nil {
		h.connection.held.Add(-n)
	}
	return false
}

func (h *Hold) take(n int64) bool {
	if !take(&h.client.held, h.client.limit, n) {
		h.refused = OfClient
		return false
	}
	if !take(&h.budget.held, h.budget.limit, n) {
		h.client.held.Add(-n)
		h.refused = OfProcess
		return false
	}
	return true
}

// Refused says which bound has refused bytes last; None if none did.
func (h *Hold) Refused() Cause {
	if h == nil {
		return None
	}
	return h.refused
}

// GiveBody returns bytes that TakeBody took.
func (h *Hold) GiveBody(n int64) {
	if h != nil {
		h.body -= n
		h.give(n)
	}
}

// GiveAnswer returns all that TakeAnswer took.
func (h *Hold) GiveAnswer() {
	if h == nil || h.answer == 0 {
		return
	}
	n := h.answer
	h.answer = 0
	if h.connection != nil {
		h.connection.held.Add(-n)
	}
	h.give(n)
}

func (h *Hold) give(n int64) {
	h.client.held.Add(-n)
	h.budget.held.Add(-n)
}

// Release returns everything. The hold must not be used afterwards.
func (h *Hold) Release() {
	if h == nil {
		return
	}
	h.GiveAnswer()
	h.GiveBody(h.body)
	b := h.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.client.users--; h.client.users == 0 {
		delete(b.clients, h.name)
	}
}
