// Command loadtest holds the tools that try a gateway out: the simulated Azure
// OpenAI, and what drives load against it. It is for test machines only and
// never part of what serves customers.
package main

import (
	"context"
	"errors"
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
	if err == nil {
		return
	}
	_, _ = fmt.Fprintln(os.Stderr, "loadtest:", err)
	if _, ok := errors.AsType[*usageError](err); ok {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2 // a command line that cannot be used
)

// A usageError is a fault of the command line.
type usageError struct{ error }

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
	began := false                                         // a command was found and its flags were read
	root.PersistentPreRun = func(*cobra.Command, []string) { began = true }
	// Without this, help would be the answer to a word that is no command.
	root.Args = cobra.NoArgs
	root.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	err := root.ExecuteContext(ctx)
	if err != nil && !began {
		return &usageError{err}
	}
	return err
}
