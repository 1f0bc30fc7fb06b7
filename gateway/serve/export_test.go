package serve

import (
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/message"
	"github.com/stampgate/stampgate/gateway/relay"
)

// Admitted is a request that has passed the stages before the attempts.
type Admitted struct {
	relay.Call

	Client   string
	Snapshot *policy.Snapshot
}

// Attempt carries an admitted request through the attempts.
func (p *Pipeline) Attempt(client message.Client, a *Admitted) relay.Result {
	v := &visit{
		Pipeline: p, ctx: a.Context, client: client, snapshot: a.Snapshot, match: a.Match, call: a.Call,
		caller: policy.Caller{Principal: &policy.Principal{Name: a.Client}},
	}
	_ = v.attempts() // what it refuses is in the result
	return v.result
}
