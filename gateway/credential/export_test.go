package credential

import (
	"context"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// Advance is Prepare where no request is under way.
func (s *Set) Advance(snap *policy.Snapshot) { s.Prepare(snap)() }

// WaitTried returns when every credential was tried once, whether it is usable
// or not, or with the cause when ctx is done. Run must be running.
func (s *Set) WaitTried(ctx context.Context) error {
	for _, src := range *s.sources.Load() {
		select {
		case <-src.tried:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
