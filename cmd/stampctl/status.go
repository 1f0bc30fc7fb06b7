package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
)

func statusCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "status [BOUNDARY]",
		Short: "Show the policy in force, who follows it, and what is drained",
		Long: `Show, for every boundary or for one, the policy in force, every gateway with the
policy that it follows, and the orders beside the policy. A gateway that is
behind, or that has refused a policy, is marked with ! and the reason.

With --output json also publicKey, which belongs into policy.trustedKeys of
every gateway.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return operands("BOUNDARY")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := statusOf(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			return g.show(s, func(w io.Writer) {
				for i, b := range s.Boundaries {
					if i > 0 {
						_, _ = fmt.Fprintln(w)
					}
					writeStatus(w, b)
				}
			})
		},
	}
}

// boundaries is the result, the same for one boundary and for all.
type boundaries struct {
	PublicKey  string                  `json:"publicKey"` // that gateways have to trust
	Boundaries []client.BoundaryStatus `json:"boundaries"`
}

func statusOf(ctx context.Context, c *client.Client, args []string) (boundaries, error) {
	if len(args) == 1 {
		b, err := c.BoundaryStatus(ctx, geo.Boundary(args[0]))
		out := boundaries{PublicKey: b.PublicKey}
		b.PublicKey = ""
		out.Boundaries = []client.BoundaryStatus{b}
		return out, err
	}
	s, err := c.Status(ctx)
	return boundaries{s.PublicKey, s.Boundaries}, err
}

func writeStatus(w io.Writer, b client.BoundaryStatus) {
	_, _ = fmt.Fprintf(w, "boundary %s: %s\n", b.Boundary, inForce(b))
	if !b.Reachable {
		return // nothing below is known
	}
	if len(b.Gateways) == 0 {
		_, _ = fmt.Fprintln(w, "no gateway is there")
	} else {
		flagged := writeGateways(w, b)
		if flagged > 0 {
			_, _ = fmt.Fprintf(w, "! %d of %d gateways need a look\n", flagged, len(b.Gateways))
		}
	}
	if len(b.Orders) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w, "drained")
	t := newTable("  KIND", "NAME", "UNTIL", "BY", "REASON")
	for _, o := range b.Orders {
		reason := orDash(o.Reason)
		if !o.Genuine {
			reason = "! NOT GENUINE, gateways ignore it: " + reason
		}
		t.add("  "+clean(o.Kind), clean(o.Name), moment(o.Expires), orDash(o.Author), reason)
	}
	t.write(w)
}

func inForce(b client.BoundaryStatus) string {
	switch {
	case !b.Reachable:
		return "! its etcd cannot be reached: " + clean(b.Problem) + " (gateways go on with what they have)"
	case b.Policy == nil && b.Problem != "":
		return "! " + clean(b.Problem)
	case b.Policy == nil:
		return "no policy was published yet"
	case !b.Policy.Genuine:
		return fmt.Sprintf("! policy %d is not genuine (%s): no gateway follows it", b.Policy.Serial, clean(b.Policy.Problem))
	}
	s := fmt.Sprintf("policy %d (%s), by %s at %s", b.Policy.Serial, short(b.Policy.Digest), orDash(b.Policy.Author), moment(b.Policy.Time))
	if b.Policy.Message != "" {
		s += ": " + clean(b.Policy.Message)
	}
	return s
}

// writeGateways returns how many gateways are marked.
func writeGateways(w io.Writer, b client.BoundaryStatus) int {
	t := newTable("  GATEWAY", "REGION", "POLICY", "HEALTH", "STATE")
	flagged := 0
	for _, gw := range b.Gateways {
		mark := "  "
		state, look := stateOf(gw, b.Policy)
		if look {
			mark = "! "
			flagged++
		}
		serial := "none"
		if gw.AppliedSerial > 0 {
			serial = strconv.FormatUint(gw.AppliedSerial, 10)
		}
		t.add(mark+clean(gw.Name), orDash(string(gw.Region)), serial, orDash(gw.Health), state)
	}
	t.write(w)
	return flagged
}

// stateOf says what is to be said of a gateway, and whether someone should look
// at it.
func stateOf(gw client.Gateway, current *client.Publication) (text string, look bool) {
	var parts []string
	if gw.RefusedSerial > gw.AppliedSerial {
		parts = append(parts, fmt.Sprintf("refused policy %d: %s", gw.RefusedSerial, orDash(gw.RefusedReason)))
	}
	if gw.Unkept != "" {
		parts = append(parts, "not on disk: "+clean(gw.Unkept))
	}
	switch {
	case current == nil || gw.Current:
	case gw.AppliedSerial == 0:
		parts = append(parts, "follows no policy")
	case gw.AppliedSerial < current.Serial:
		parts = append(parts, fmt.Sprintf("stale: %d behind", current.Serial-gw.AppliedSerial))
	case gw.AppliedSerial > current.Serial:
		parts = append(parts, "ahead of the store: was its etcd restored from a backup?")
	default:
		parts = append(parts, "follows another document than the one in force")
	}
	look = len(parts) > 0 || !slices.Contains([]string{"pass", "warn"}, gw.Health) && !gw.Draining
	if gw.Draining {
		parts = append(parts, "draining")
	}
	if len(parts) == 0 {
		return "-", look
	}
	return strings.Join(parts, "; "), look
}
