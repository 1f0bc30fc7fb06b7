package admin

import (
	"time"

	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway/credential"
	"github.com/stampgate/stampgate/gateway/health"
	"github.com/stampgate/stampgate/gateway/targets"
	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/stamp/membership"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// Status is what GET /status of the admin listener shows. Each part of it is the
// type of the package that knows it.
type Status struct {
	Gateway     string             `json:"gateway"`
	Boundary    geo.Boundary       `json:"boundary"`
	Region      geo.RegionID       `json:"region"`
	Zone        string             `json:"zone,omitempty"`
	Version     string             `json:"version"`
	Started     time.Time          `json:"started"`
	Health      string             `json:"health"`
	Stamp       string             `json:"stamp"`
	Draining    bool               `json:"draining"`
	InFlight    int                `json:"inFlight"`
	Policy      PolicyStatus       `json:"policy"`
	Orders      []store.Order      `json:"orders"`
	Credentials []CredentialStatus `json:"credentialProblems"`
	Targets     []targets.Status   `json:"targets"`
	Gossip      *membership.Status `json:"gossip,omitempty"`
}

// PolicyStatus is what is in force, and what was refused.
type PolicyStatus struct {
	Serial        uint64    `json:"serial"`
	Digest        string    `json:"digest,omitempty"`
	Since         time.Time `json:"since,omitzero"`
	FromDisk      bool      `json:"fromDisk"`
	Connected     bool      `json:"connected"` // the source was heard and is not silent
	RefusedSerial uint64    `json:"refusedSerial,omitempty"`
	RefusedReason string    `json:"refusedReason,omitempty"`
	HighestSerial uint64    `json:"highestSerial,omitempty"` // that was ever followed here
	Unkept        string    `json:"unkept,omitempty"`        // what the disk does not take
	Problem       string    `json:"problem,omitempty"`       // why it is not connected
	Unannounced   string    `json:"unannounced,omitempty"`   // why the control plane is not told of this gateway
}

// CredentialStatus is a credential that needs an operator.
type CredentialStatus struct {
	Credential string    `json:"credential"`
	Backends   []string  `json:"backends"`
	Unusable   bool      `json:"unusable"`
	Problem    string    `json:"problem"`
	Since      time.Time `json:"since"`
}

// Status returns what is known now.
func (a *Admin) Status() Status {
	s, summary := a.cfg.Follower.State(), a.cfg.Machine.Summary()
	out := Status{
		Gateway: a.cfg.Name, Boundary: a.cfg.Boundary, Region: a.cfg.Region, Zone: a.cfg.Zone,
		Version: telemetry.Version(), Started: a.cfg.Started.UTC(),
		Health: summary.Ready.String(), Stamp: summary.Stamp.String(),
		Draining: a.cfg.Draining(), InFlight: a.cfg.InFlight(),
		Policy: PolicyStatus{
			Serial: s.AppliedSerial, Digest: s.AppliedDigest, Since: s.AppliedAt, FromDisk: s.FromDisk,
			Connected: s.Connected, RefusedSerial: s.RefusedSerial, RefusedReason: s.RefusedReason,
			HighestSerial: s.SeenSerial, Unkept: s.Unkept,
		},
		Orders: s.Orders, Targets: a.cfg.Registry.Status(time.Now()), Credentials: problems(a.cfg.Credentials.Problems()),
	}
	if a.cfg.SourceProblems != nil {
		out.Policy.Problem, out.Policy.Unannounced = a.cfg.SourceProblems()
	}
	if a.cfg.Gossip != nil {
		out.Gossip = new(a.cfg.Gossip())
	}
	return out
}

// Presence is what the control plane is told of this gateway, which listens there.
func (a *Admin) Presence(url, adminURL string) store.Presence {
	s := a.cfg.Follower.State()
	p := store.Presence{
		Gateway: a.cfg.Name, Region: a.cfg.Region, Version: telemetry.Version(),
		AppliedSerial: s.AppliedSerial, AppliedDigest: s.AppliedDigest,
		RefusedSerial: s.RefusedSerial, RefusedReason: s.RefusedReason, Unkept: s.Unkept,
		Health: a.cfg.Machine.Summary().Ready.String(), Draining: a.cfg.Draining(), Started: a.cfg.Started.UTC(),
		URL: url, AdminURL: adminURL,
	}
	if s.SeenSerial > s.AppliedSerial {
		p.HighestSerial = s.SeenSerial
	}
	return p
}

func problems(list []credential.Problem) []CredentialStatus {
	out := make([]CredentialStatus, 0, len(list))
	for _, p := range list {
		out = append(out, CredentialStatus{Credential: p.Credential, Backends: p.Backends, Unusable: p.Unusable, Problem: p.Text, Since: p.Since})
	}
	return out
}

// Detail is what only operators may see of this gateway's health.
func (a *Admin) Detail() health.Detail {
	now, s := time.Now(), a.cfg.Follower.State()
	d := health.Detail{
		Version: telemetry.Version(), Gateway: a.cfg.Name, Boundary: string(a.cfg.Boundary), Region: string(a.cfg.Region),
		PolicySerial: s.AppliedSerial, Targets: a.cfg.Registry.Status(now), Connected: s.Connected, Unkept: s.Unkept,
	}
	if a.cfg.SourceProblems != nil {
		d.Problem, _ = a.cfg.SourceProblems()
	}
	if !s.AppliedAt.IsZero() {
		d.PolicyAge = now.Sub(s.AppliedAt)
	}
	if a.cfg.Members != nil {
		d.Gossip = a.cfg.Members()
	}
	return d
}
