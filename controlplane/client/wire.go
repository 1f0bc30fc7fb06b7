package client

import (
	"encoding/json"
	"time"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// What goes over the wire, in JSON. New fields may come; readers ignore what
// they do not know.

// A Verdict is what validation says of a document.
type Verdict = policy.Verdict

// A Publication is one policy that was put in force.
type Publication struct {
	Serial   uint64       `json:"serial"`
	Boundary geo.Boundary `json:"boundary"`
	Digest   string       `json:"digest"`
	Author   string       `json:"author"`
	Message  string       `json:"message"`
	Time     time.Time    `json:"time"`
	// Genuine: a trusted key signed it, and the document is the one that was signed.
	Genuine bool   `json:"genuine"`
	Problem string `json:"problem,omitempty"` // why it is not genuine
	// Unchanged: what the document says was in force already; nothing was written.
	Unchanged bool `json:"unchanged,omitempty"`
	// Note is what was unusual about the publication, such as serials left out.
	Note     string         `json:"note,omitempty"`
	Warnings []policy.Fault `json:"warnings,omitempty"`
}

// A Policy is a publication with its document.
type Policy struct {
	Publication
	Document string `json:"document"` // as it was written; empty if it is not genuine
}

// Status is the state of every boundary.
type Status struct {
	Version    string           `json:"version"`
	PublicKey  string           `json:"publicKey"` // of the key that this control plane signs with
	Boundaries []BoundaryStatus `json:"boundaries"`
}

// A BoundaryStatus is what one boundary's etcd says.
type BoundaryStatus struct {
	Boundary  geo.Boundary `json:"boundary"`
	PublicKey string       `json:"publicKey,omitempty"` // as in Status, where one boundary was asked for
	Reachable bool         `json:"reachable"`           // its etcd
	Problem   string       `json:"problem,omitempty"`
	Policy    *Publication `json:"policy"` // null: none was published, or it cannot be read
	Gateways  []Gateway    `json:"gateways"`
	Orders    []Order      `json:"orders"`
	// Stamps is what each stamp says of its load, by region, as it is stored.
	Stamps map[geo.RegionID]json.RawMessage `json:"stamps"`
}

// A Gateway is what a gateway says of itself.
type Gateway struct {
	Name          string       `json:"name"`
	Region        geo.RegionID `json:"region"`
	Version       string       `json:"version,omitempty"`
	AppliedSerial uint64       `json:"appliedSerial"`
	AppliedDigest string       `json:"appliedDigest,omitempty"`
	RefusedSerial uint64       `json:"refusedSerial,omitempty"`
	RefusedReason string       `json:"refusedReason,omitempty"`
	Unkept        string       `json:"unkept,omitempty"` // what its disk does not take: a cold start would refuse to serve
	// Current: it follows the policy in force.
	Current  bool      `json:"current"`
	Health   string    `json:"health,omitempty"`
	Draining bool      `json:"draining,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	URL      string    `json:"url,omitempty"`
	AdminURL string    `json:"adminUrl,omitempty"`
}

// An Order is an operator's instruction that is in force beside the policy.
type Order struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // backend, region, gateway
	Name    string    `json:"name"`
	Action  string    `json:"action"` // drain
	Reason  string    `json:"reason,omitempty"`
	Author  string    `json:"author,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Genuine bool      `json:"genuine"` // gateways ignore one that is not
	// Warning: what the one who gave it should know, such as that nothing of
	// this name is there right now.
	Warning string `json:"warning,omitempty"`
}

// An OrderRequest asks for an order.
type OrderRequest struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
	Author string `json:"author,omitempty"`
	For    string `json:"for,omitempty"` // such as "2h"; default 24h
}

// A RollbackRequest asks for an old document.
type RollbackRequest struct {
	Serial       uint64  `json:"serial"`
	Author       string  `json:"author,omitempty"`
	Message      string  `json:"message,omitempty"`
	ExpectSerial *uint64 `json:"expectSerial,omitempty"`
}

// An AuditRecord says who did what.
type AuditRecord struct {
	Time    time.Time `json:"time"`
	Author  string    `json:"author"`
	Action  string    `json:"action"` // publish, rollback, order, withdraw
	Subject string    `json:"subject"`
	Message string    `json:"message,omitempty"`
	Digest  string    `json:"digest,omitempty"`
	Note    string    `json:"note,omitempty"` // what was unusual about it
}

// The lists, as they go over the wire.
type (
	// HistoryReply is the answer to History.
	HistoryReply struct {
		History []Publication `json:"history"`
	}
	// OrdersReply is the answer to Orders.
	OrdersReply struct {
		Orders []Order `json:"orders"`
	}
	// AuditReply is the answer to Audit.
	AuditReply struct {
		Records []AuditRecord `json:"records"`
	}
)

// An ErrorReply is the body of every answer that is not a success. That of a
// refused document carries the verdict too.
type ErrorReply struct {
	Error ErrorBody `json:"error"`
	*Verdict
}

// An ErrorBody says what is wrong and what to do.
type ErrorBody struct {
	Code     string         `json:"code"`
	Message  string         `json:"message"`
	Faults   []policy.Fault `json:"faults,omitempty"`
	Conflict *Publication   `json:"conflict,omitempty"` // what is in force instead
}

// The codes of errors.
const (
	CodeInvalidRequest = "invalid_request"
	CodeUnauthorized   = "unauthorized"
	CodeNotFound       = "not_found"
	CodeNotAllowed     = "method_not_allowed"
	CodeTooLarge       = "too_large"
	CodeConflict       = "conflict"
	CodeRefused        = "policy_refused"
	CodeNotGenuine     = "policy_not_genuine"
	CodeUnavailable    = "etcd_unavailable"
	CodeUncertain      = "outcome_unknown"
	CodeInternal       = "internal"
)
