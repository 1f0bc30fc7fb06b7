package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/geo"
)

// orderFlags are the flags of drain and undrain.
type orderFlags struct {
	boundary string
	reason   string
	author   string
	forTime  time.Duration
}

func (f *orderFlags) who() string {
	if f.author != "" {
		return f.author
	}
	return author()
}

// isKind says of what there can be orders.
func isKind(kind string) bool {
	return kind == "backend" || kind == "region" || kind == "gateway"
}

func kindOperand(cmd *cobra.Command, args []string) error {
	if err := operands("KIND", "NAME")(cmd, args); err != nil {
		return err
	}
	if !isKind(args[0]) {
		return usage("%s %s: want backend, region or gateway", cmd.CommandPath(), args[0])
	}
	return nil
}

func drainCommand(g *globals) *cobra.Command {
	var f orderFlags
	cmd := &cobra.Command{
		Use:   "drain backend|region|gateway NAME --boundary B --reason WHY",
		Short: "Take a backend, a region or a gateway out of use at once",
		Long: `Take something out of use at once, beside the policy, until it is undrained or the
order expires.

  backend   gateways send it no new requests; streams that run end by themselves
  region    its stamp's health fails, so that the global router moves on; it still
            serves what arrives, and other stamps stop using its backends
  gateway   its health fails, it stops accepting after the notice time, and lets
            what runs finish

Draining the same thing again replaces reason and expiry.`,
		Example: "  stampctl drain backend swc-ptu --boundary eu --reason 'key rotation' --for 2h",
		Args:    kindOperand,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needed(cmd, "boundary", "reason"); err != nil {
				return err
			}
			if f.forTime <= 0 {
				return usage("--for %v: want a time ahead, such as 2h", f.forTime)
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			o, err := c.PutOrder(cmd.Context(), geo.Boundary(f.boundary), client.OrderRequest{
				Kind: args[0], Name: args[1], Reason: f.reason, Author: f.who(), For: f.forTime.String(),
			})
			if err != nil {
				return err
			}
			if o.Warning != "" {
				_, _ = fmt.Fprintf(g.err, "warning: %s\n", clean(o.Warning))
			}
			return g.show(o, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "%s %s of %s is drained until %s\n", o.Kind, o.Name, f.boundary, moment(o.Expires))
			})
		},
	}
	f.define(cmd)
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for everyone who wonders later")
	cmd.Flags().DurationVar(&f.forTime, "for", 24*time.Hour, "time until the order expires by itself")
	return cmd
}

func (f *orderFlags) define(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.boundary, "boundary", "b", "", "boundary of what is meant")
	cmd.Flags().StringVar(&f.author, "author", "", "who, for the audit trail; default: $"+envAuthor+" or the login name")
}

func undrainCommand(g *globals) *cobra.Command {
	var f orderFlags
	cmd := &cobra.Command{
		Use:     "undrain backend|region|gateway NAME --boundary B",
		Short:   "Put what was drained back into use",
		Example: "  stampctl undrain backend swc-ptu --boundary eu",
		Args:    kindOperand,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needed(cmd, "boundary"); err != nil {
				return err
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			id := client.DrainID(args[0], args[1])
			err = c.DeleteOrder(cmd.Context(), geo.Boundary(f.boundary), id, f.who())
			if _, ok := errors.AsType[*client.NotFoundError](err); ok {
				return fmt.Errorf("%s %s of boundary %s is not drained: 'stampctl status %s' lists what is", args[0], args[1], f.boundary, f.boundary)
			}
			if err != nil {
				return err
			}
			result := struct {
				ID        string `json:"id"`
				Withdrawn bool   `json:"withdrawn"`
			}{id, true}
			return g.show(result, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "%s %s of %s is in use again\n", args[0], args[1], f.boundary)
			})
		},
	}
	f.define(cmd)
	return cmd
}

func auditCommand(g *globals) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "audit BOUNDARY",
		Short: "Show who did what, the latest first",
		Args:  operands("BOUNDARY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			records, err := c.Audit(cmd.Context(), geo.Boundary(args[0]), limit)
			if err != nil {
				return err
			}
			return g.show(client.AuditReply{Records: records}, func(w io.Writer) {
				t := newTable("TIME", "AUTHOR", "ACTION", "SUBJECT", "MESSAGE")
				for _, r := range records {
					t.add(moment(r.Time), orDash(r.Author), orDash(r.Action), orDash(r.Subject), orDash(r.Message))
				}
				t.write(w)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many")
	return cmd
}
