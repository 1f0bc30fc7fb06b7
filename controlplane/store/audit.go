package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/stampgate/stampgate/geo"
)

// An AuditRecord says who did what. It is written in the transaction of the
// deed, so there is no deed without one.
type AuditRecord struct {
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	Author  string    `json:"author"`
	Action  string    `json:"action"`  // publish, rollback, order, withdraw
	Subject string    `json:"subject"` // "policy 7", "drain backend swc-ptu"
	Message string    `json:"message,omitempty"`
	Digest  string    `json:"digest,omitempty"`
	Note    string    `json:"note,omitempty"` // what was unusual about it
}

func auditOp(b geo.Boundary, r AuditRecord) clientv3.Op {
	value, _ := json.Marshal(r) // strings and a time: it cannot fail
	return clientv3.OpPut(keysOf(b).auditOf(r.Time.UnixNano(), r.ID), string(value))
}

// Audit returns up to limit records, the latest first.
func (s *Store) Audit(ctx context.Context, boundary geo.Boundary, limit int) ([]AuditRecord, error) {
	if err := checkBoundary(boundary); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timing.Request)
	defer cancel()
	// The keys begin with nanoseconds of 19 digits (until 2286), so their order
	// is that of time.
	resp, err := s.client.Get(ctx, keysOf(boundary).audit(), clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(int64(max(limit, 1))))
	if err != nil {
		return nil, unavailable("read the audit trail of "+string(boundary), err)
	}
	out := make([]AuditRecord, 0, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		var r AuditRecord
		if err := json.Unmarshal(kv.Value, &r); err != nil {
			r = AuditRecord{Action: "unreadable", Subject: fmt.Sprintf("%q", clip(string(kv.Key), 200))}
		}
		out = append(out, r)
	}
	return out, nil
}
