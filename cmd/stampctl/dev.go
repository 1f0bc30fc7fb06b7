package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/geo"
	"github.com/stampgate/stampgate/infra/devstack"
)

// devFlags are the flags of stampctl dev.
type devFlags struct {
	dir        string
	bin        string
	boundaries []string
	regions    []string
	gateways   int
	ports      int
	keepState  bool
	tls        bool
}

func devCommand(g *globals) *cobra.Command {
	var f devFlags
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole Stampgate on this machine until Ctrl-C",
		Long: `Run a whole Stampgate on this machine: a control plane with embedded etcd,
simulated Azure OpenAI instances, and the gateways of every stamp, each a process
of its own. It uses the programs beside stampctl (make build makes them) and the
loopback addresses alone.

Without flags: boundary eu (swedencentral, westeurope; three gateways per stamp)
and boundary us (eastus2, westus3; two per stamp), with one provisioned and one
standard instance per region.

  smaller   --boundaries eu --gateways 1
  larger    --gateways 5
  others    --regions eu=francecentral,germanywestcentral --regions ch=switzerlandnorth

Everything is kept in one folder (--dir): keys/, tls/, config/, policies/, logs/, and
stack.json, which says how to reach everything. It is written when every gateway
has served a request and taken away when the stack stops. Each start begins
anew, unless --keep-state: then keys, published policies and ports stay.

Many SDKs refuse plain http. With --tls the gateways speak https: tls/ca.pem in
the stack's folder, caFile in stack.json, is the certificate to trust (curl
--cacert, SSL_CERT_FILE, NODE_EXTRA_CA_CERTS); it stays with --keep-state.

Ports: one block of 500 from --ports on. +0 is the control plane, +1 the
simulator's control API, +2 every simulated instance (each has an address of its
own, from 127.0.10.1 on), +10 and on are the boundaries' etcds, +101 and on the
gateways, +201 and on their admin listeners, +301 and on their gossip. Without
--ports it is the first wholly free block of 18000, 18500 …

Ctrl-C stops all of it. A process that dies is reported with its last log lines
and not restarted; the rest goes on, and the exit code is then 1.`,
		Args: operands(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := f.config(g.err)
			if err != nil {
				return err
			}
			return runDev(cmd.Context(), g, config)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", devstack.DefaultDir, "folder of the stack")
	flags.StringVar(&f.bin, "bin", "", "folder of the programs; default: where stampctl is")
	flags.StringSliceVar(&f.boundaries, "boundaries", nil, "only these boundaries, such as eu,us")
	flags.StringArrayVar(&f.regions, "regions", nil, "regions of a boundary, as BOUNDARY=REGION,REGION; may be repeated")
	flags.IntVar(&f.gateways, "gateways", 0, "gateways per stamp; default: three in eu, two elsewhere")
	flags.IntVar(&f.ports, "ports", 0, "first port of the stack's block; default: the first free block from 18000 on")
	flags.BoolVar(&f.tls, "tls", false, "have the gateways speak https, with a certificate made in the stack's folder")
	flags.BoolVar(&f.keepState, "keep-state", false, "go on with the last run's keys, policies and ports")
	return cmd
}

// config turns the flags into the stack to run.
func (f devFlags) config(log io.Writer) (devstack.Config, error) {
	c := devstack.Config{Dir: f.dir, BinDir: f.bin, KeepState: f.keepState, PortBase: f.ports, TLS: f.tls, Log: log}
	if c.BinDir == "" {
		self, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find the folder of the programs: %w", err)
		}
		c.BinDir = filepath.Dir(self)
	}
	boundaries, err := f.chosen()
	if err != nil {
		return c, err
	}
	c.Boundaries = boundaries
	if f.gateways < 0 {
		return c, usage("--gateways %d: want at least 1", f.gateways)
	}
	for i := range c.Boundaries {
		if f.gateways > 0 {
			c.Boundaries[i].GatewaysPerStamp = f.gateways
		}
	}
	if err := c.Validate(); err != nil {
		return c, usage("%v", err)
	}
	return c, nil
}

// chosen applies --regions to the default boundaries, and then --boundaries.
// Boundaries that are not among the defaults come from --regions; naming
// regions without --boundaries runs just the boundaries that they are named for.
func (f devFlags) chosen() ([]devstack.Boundary, error) {
	known := map[geo.Boundary]devstack.Boundary{}
	var order []geo.Boundary
	for _, b := range devstack.DefaultBoundaries() {
		known[b.Name] = b
		order = append(order, b.Name)
	}
	if len(f.regions) > 0 {
		order = nil
	}
	for _, entry := range f.regions {
		name, list, ok := strings.Cut(entry, "=")
		if !ok || list == "" {
			return nil, usage("--regions %s: want BOUNDARY=REGION,REGION, such as eu=swedencentral,westeurope", entry)
		}
		b, there := known[geo.Boundary(name)]
		if !there {
			b = devstack.Boundary{Name: geo.Boundary(name), GatewaysPerStamp: 2}
		}
		b.Regions = nil
		for region := range strings.SplitSeq(list, ",") {
			b.Regions = append(b.Regions, geo.RegionID(region))
		}
		known[b.Name] = b
		order = append(order, b.Name)
	}
	if len(f.boundaries) > 0 {
		order = nil
		for _, name := range f.boundaries {
			order = append(order, geo.Boundary(name))
		}
	}
	var out []devstack.Boundary
	for _, name := range order {
		b, ok := known[name]
		if !ok {
			return nil, usage("--boundaries %s: only %v have regions of their own; name others with --regions %s=REGION,REGION", name, slices.Sorted(maps.Keys(known)), name)
		}
		out = append(out, b)
	}
	return out, nil
}

func runDev(ctx context.Context, g *globals, c devstack.Config) error {
	err := devstack.Run(ctx, c, func(s *devstack.Stack) {
		_ = g.show(s, func(w io.Writer) { devstack.WhatToTry(w, os.Args[0], c.Dir, s) }) // the stack runs whether or not someone reads this
	})
	if fault, ok := errors.AsType[*devstack.ConfigError](err); ok {
		return usage("%s", fault.Text)
	}
	return err
}
