package embedded

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

func compact(ctx context.Context, s *etcdserver.EtcdServer) error {
	newest := s.KV().Rev()
	if _, err := s.Compact(ctx, &etcdserverpb.CompactionRequest{Revision: newest, Physical: true}); err != nil {
		return fmt.Errorf("compact at %d: %w", newest, err)
	}
	return nil
}
