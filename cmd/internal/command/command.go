// Package command is what all commands have in common: what their exit codes say,
// and which errors are a fault of the command line.
//
// It prints nothing and ends no process: what is shown of an error, and where, is
// each command's own. Only the commands use it.
package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// The exit codes. Scripts and service managers branch on them.
const (
	Done   = 0
	Failed = 1 // something went wrong while running: a port in use, for example
	Usage  = 2 // the command line, or a configuration that cannot be used
)

// A UsageError is a fault of the command line or of the configuration: to run the
// command again would change nothing.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// Unusable marks an error as a UsageError; nil stays nil.
func Unusable(err error) error {
	if err == nil {
		return nil
	}
	return &UsageError{err}
}

// Execute runs the command that the arguments name, and returns it. What goes wrong
// before it was found and its flags were read is a UsageError.
func Execute(ctx context.Context, root *cobra.Command) (*cobra.Command, error) {
	began := false
	whenBegun(root, func() { began = true })
	cmd, err := root.ExecuteContextC(ctx)
	if _, known := errors.AsType[*UsageError](err); err != nil && !began && !known {
		err = &UsageError{err}
	}
	return cmd, err
}

// whenBegun has f called when the command, or one below it, begins its work.
func whenBegun(cmd *cobra.Command, f func()) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			f()
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		whenBegun(sub, f)
	}
}

// Code is what a process ends with after the error.
func Code(err error) int {
	if err == nil {
		return Done
	}
	if _, ok := errors.AsType[*UsageError](err); ok {
		return Usage
	}
	return Failed
}
