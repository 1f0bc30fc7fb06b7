package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

// exitRefused is the exit code when validation said no; nothing was changed. The
// others are those of all commands.
const exitRefused = 3

// usage says that the command line makes no sense.
func usage(format string, args ...any) error { return command.Usagef(format, args...) }

// errRefused: validation said no. The faults have been shown.
var errRefused = errors.New("refused by validation")

// streams are where a command reads and writes, so that tests can be in the
// place of a terminal.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// globals are the flags of every command.
type globals struct {
	streams
	server    string
	tokenFile string
	caFile    string
	output    string
}

func run(ctx context.Context, args []string, s streams) int {
	root := newRoot(&globals{streams: s}) //nolint:contextcheck // a command gets its context when it is executed
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	cmd, err := command.Execute(ctx, root)
	return report(cmd, s.err, err)
}

// report shows an error, once, and turns it into an exit code.
func report(cmd *cobra.Command, w io.Writer, err error) int {
	if err == nil {
		return command.Done
	}
	if errors.Is(err, errRefused) {
		return exitRefused // what was wrong is on the screen already
	}
	_, _ = fmt.Fprintf(w, "stampctl: %v\n", err)
	if todo := remedy(err); todo != "" {
		_, _ = fmt.Fprintln(w, todo)
	}
	code := command.Code(err)
	if code == command.Usage {
		_, _ = fmt.Fprintf(w, "see '%s --help'\n", cmd.CommandPath())
	}
	return code
}

func newRoot(g *globals) *cobra.Command {
	root := group(&cobra.Command{
		Use:   "stampctl",
		Short: "Operate Stampgate: policies, drains, keys, status and the development stack",
		Long: `Operate Stampgate: policies, drains, keys, status and the development stack.

Commands that need the control plane find it by --server (or STAMPGATE_SERVER)
and prove themselves with a token from --token-file (or STAMPGATE_TOKEN_FILE, or
the token itself in STAMPGATE_TOKEN). Where none of these is given, the running
development stack of this folder is used (.dev/stack.json, or the file that
STAMPGATE_STACK names).

Exit codes: 0 done, 1 failed, 2 the command line makes no sense, 3 refused by
validation.`,
		Version:       telemetry.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	flags := root.PersistentFlags()
	flags.StringVar(&g.server, "server", "", "URL of the control plane")
	flags.StringVar(&g.tokenFile, "token-file", "", "file with the control plane's token")
	flags.StringVar(&g.caFile, "ca-file", "", "certificate authority of the control plane (PEM); default: the system's")
	flags.StringVarP(&g.output, "output", "o", outputText, "text or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return command.Unusable(err) })
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if g.output != outputText && g.output != outputJSON {
			return usage("--output %s: want %s or %s", g.output, outputText, outputJSON)
		}
		return nil
	}
	root.AddCommand(
		policyCommand(g),
		statusCommand(g),
		explainCommand(g),
		drainCommand(g),
		undrainCommand(g),
		keyCommand(g),
		signingKeyCommand(g),
		auditCommand(g),
		devCommand(g),
		versionCommand(g),
	)
	return root
}

func versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show which build this is", Args: operands(),
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version string `json:"version"`
			}{telemetry.Version()}
			return g.show(v, func(w io.Writer) { _, _ = fmt.Fprintln(w, v.Version) })
		},
	}
}

// group makes a command that only holds others: called by itself or with a name
// that it does not know, it is a usage error.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2 // letters that may differ
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			var names []string
			for _, sub := range cmd.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name())
				}
			}
			return usage("%s needs one of: %s", cmd.CommandPath(), strings.Join(names, ", "))
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usage("unknown command %q for %q, did you mean %s?", args[0], cmd.CommandPath(), strings.Join(near, " or "))
		}
		return usage("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return cmd
}

// operands checks that exactly the named operands are given.
func operands(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usage("%s: %s is missing", cmd.CommandPath(), names[len(args)])
		}
		if len(args) > len(names) {
			return usage("%s: %q is one operand too many", cmd.CommandPath(), args[len(names)])
		}
		return nil
	}
}

// needed checks flags that a command cannot do without.
func needed(cmd *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if f := cmd.Flag(name); f == nil || f.Value.String() == "" {
			return usage("%s: --%s is missing", cmd.CommandPath(), name)
		}
	}
	return nil
}
