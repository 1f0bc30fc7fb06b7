package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
)

func policyCommand(g *globals) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "policy",
		Short: "Validate, compare, publish and read policies",
	})
	cmd.AddCommand(
		policyValidateCommand(g),
		policyDiffCommand(g),
		policyApplyCommand(g),
		policyGetCommand(g),
		policyHistoryCommand(g),
		policyRollbackCommand(g),
	)
	return cmd
}

// readSource reads a document from a file, or from standard input for "-".
func (g *globals) readSource(name string) ([]byte, error) {
	in := g.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("read the policy: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	// One byte more than the decoder takes, so that it can say what is wrong.
	source, err := io.ReadAll(io.LimitReader(in, policy.MaxRawBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	return source, nil
}

func policyValidateCommand(g *globals) *cobra.Command {
	var allowLoopback bool
	cmd := &cobra.Command{
		Use:   "validate FILE",
		Short: "Say everything that is wrong with a policy, without a server",
		Long: `Say everything that is wrong with a policy, one fault a line as "path: text",
and warn of what is legal but unwise. It needs no server. FILE may be - for
standard input. Exit code 3 if the policy would be refused.`,
		Example: "  stampctl policy validate eu.yaml",
		Args:    operands("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			source, err := g.readSource(args[0])
			if err != nil {
				return err
			}
			v, _, err := policy.Judge(source, policy.Options{Digest: signing.Digest(source), AllowLoopback: allowLoopback, Now: time.Now()})
			if err != nil {
				return err
			}
			return g.showVerdict(args[0], v)
		},
	}
	cmd.Flags().BoolVar(&allowLoopback, "allow-loopback-backends", false, "accept http://127.… endpoints, as a development stack does")
	return cmd
}

// showVerdict writes faults to the output and warnings beside it, and returns
// errRefused where there is a fault.
func (g *globals) showVerdict(name string, v policy.Verdict) error {
	err := g.show(v, func(w io.Writer) {
		for _, f := range v.Faults {
			_, _ = fmt.Fprintln(w, clean(f.String()))
		}
		g.warn(v.Warnings)
		if v.Valid {
			_, _ = fmt.Fprintf(w, "%s is a valid policy of boundary %s, digest %s\n", name, v.Boundary, v.Digest)
			return
		}
		_, _ = fmt.Fprintf(g.err, "stampctl: %s is refused: %d faults\n", name, len(v.Faults))
	})
	if err == nil && !v.Valid {
		return errRefused
	}
	return err
}

// warn shows warnings, apart from the result so that a script can ignore them.
func (g *globals) warn(warnings []policy.Fault) {
	for _, f := range warnings {
		_, _ = fmt.Fprintf(g.err, "warning: %s\n", clean(f.String()))
	}
}
