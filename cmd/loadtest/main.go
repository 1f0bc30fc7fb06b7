// Command loadtest holds the tools that try a gateway out: the simulated Azure
// OpenAI, and what drives load against it. It is for test machines only and
// never part of what serves customers.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "loadtest:", err)
	}
	os.Exit(command.Code(err))
}

// run is the whole command, with what it needs from its process passed in.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "loadtest",
		Short:         "Simulate Azure OpenAI and try a gateway against it",
		Version:       telemetry.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(simulateCommand(), scorecardCommand()) //nolint:contextcheck // cobra hands it the context
	// Without this, help would be the answer to a word that is no command.
	root.Args = cobra.NoArgs
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	_, err := command.Execute(ctx, root)
	return err
}
