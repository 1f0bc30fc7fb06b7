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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

// run is the whole command, with what it needs from its process passed in.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := &cobra.Command{
		Use:           "loadtest",
		Short:         "Simulate Azure OpenAI and try a gateway against it",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(simulateCommand(), scorecardCommand()) //nolint:contextcheck // cobra hands it the context
	return root.ExecuteContext(ctx)
}
