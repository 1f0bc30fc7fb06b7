package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/controlplane/policy"
)

// explainFlags are the flags of stampctl explain.
type explainFlags struct {
	question
	file         string
	gatewayAdmin string
	gatewayToken string
}

func explainCommand(g *globals) *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --boundary B --region R --client C --route ROUTE",
		Short: "Show where a request would go: the ordered targets, and why not the others",
		Long: `Show where a client's request for a route would go from a gateway in a region:
the targets in the order in which they are tried, and for every other deployment
of the boundary the reason why it is not.

The answer is that of the policy in force and of the orders beside it; with
--file, of a policy that may not have been published yet. What a gateway has
learned since (throttling, failures, load) it knows itself: with --gateway-admin,
its own answer is shown as well.`,
		Example: `  stampctl explain --boundary eu --region swedencentral --client payroll --route gpt-5.4
  stampctl explain --file new.yaml --region westeurope --client payroll --route gpt-5.4`,
		Args: operands(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needed(cmd, "region", "client", "route"); err != nil {
				return err
			}
			if f.file == "" {
				if err := needed(cmd, "boundary"); err != nil {
					return err
				}
			}
			return g.explain(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP((*string)(&f.Boundary), "boundary", "b", "", "boundary whose policy is asked")
	flags.StringVar((*string)(&f.Region), "region", "", "region of the gateway")
	flags.StringVar(&f.Client, "client", "", "name of the client")
	flags.StringVar(&f.Route, "route", "", "route that the client asks for")
	flags.StringVarP(&f.file, "file", "f", "", "ask a policy in a file instead of the one in force; - for standard input")
	flags.StringVar(&f.gatewayAdmin, "gateway-admin", "", "URL of a gateway's admin listener, to show its own answer too")
	flags.StringVar(&f.gatewayToken, "gateway-token-file", "", "file with the gateway's admin token")
	return cmd
}

func (g *globals) explain(ctx context.Context, f explainFlags) error {
	doc, serial, out, err := g.policyToExplain(ctx, f)
	if err != nil {
		return err
	}
	snap, err := policy.Compile(doc, policy.Options{Serial: serial, AllowLoopback: true})
	if err != nil {
		return err
	}
	e, err := explain(doc, snap, f.question, out)
	if err != nil {
		return err
	}
	if f.gatewayAdmin != "" {
		if e.Gateway, err = g.askGateway(ctx, f); err != nil {
			return err
		}
	}
	return g.show(e, e.write)
}

// policyToExplain returns the document, its serial, and what is drained.
func (g *globals) policyToExplain(ctx context.Context, f explainFlags) (*policy.Document, uint64, []drained, error) {
	if f.file != "" {
		doc, err := g.policyFromFile(f.file)
		return doc, 0, nil, err
	}
	c, err := g.connect()
	if err != nil {
		return nil, 0, nil, err
	}
	defer c.Close()
	p, err := c.Policy(ctx, f.Boundary, 0)
	if err != nil {
		return nil, 0, nil, err
	}
	if !p.Genuine {
		return nil, 0, nil, fmt.Errorf("policy %d of %s is not genuine (%s): no gateway follows it", p.Serial, f.Boundary, clean(p.Problem))
	}
	doc, err := policy.Decode([]byte(p.Document))
	if err != nil {
		return nil, 0, nil, fmt.Errorf("read policy %d of %s: %w", p.Serial, f.Boundary, err)
	}
	orders, err := c.Orders(ctx, f.Boundary)
	if err != nil {
		return nil, 0, nil, err
	}
	var out []drained
	for _, o := range orders {
		if o.Genuine && o.Action == "drain" {
			out = append(out, drained{Kind: o.Kind, Name: o.Name, Reason: o.Reason, Until: o.Expires})
		}
	}
	return doc, p.Serial, out, nil
}

func (g *globals) policyFromFile(name string) (*policy.Document, error) {
	source, err := g.readSource(name)
	if err != nil {
		return nil, err
	}
	v, doc, err := policy.Judge(source, policy.Options{AllowLoopback: true})
	if err != nil {
		return nil, err
	}
	if !v.Valid {
		return nil, g.showVerdict(name, v)
	}
	return doc, nil
}
