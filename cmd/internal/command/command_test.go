package command_test

import (
	"errors"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
)

func TestExitCodes(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		args []string
		err  error // of the command
		want int
	}{
		{"done", []string{"work", "--file", "x"}, nil, command.Done},
		{"failed at run time", []string{"work", "--file", "x"}, broken, command.Failed},
		{"a configuration that cannot be used", []string{"work", "--file", "x"}, command.Unusable(broken), command.Usage},
		{"no such command", []string{"play"}, nil, command.Usage},
		{"no such flag", []string{"work", "--fiel", "x"}, nil, command.Usage},
		{"a flag is missing", []string{"work"}, nil, command.Usage},
		{"too many arguments", []string{"work", "--file", "x", "y"}, nil, command.Usage},
		{"help", []string{"work", "--help"}, broken, command.Done},
		{"the version", []string{"--version"}, broken, command.Done},
	} {
		root := &cobra.Command{Use: "test", Version: "v1", SilenceUsage: true, SilenceErrors: true}
		work := &cobra.Command{Use: "work", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return c.err }}
		work.Flags().String("file", "", "")
		if err := work.MarkFlagRequired("file"); err != nil {
			t.Fatal(err)
		}
		root.AddCommand(work)
		root.SetArgs(c.args)
		root.SetOut(t.Output())
		_, err := command.Execute(t.Context(), root)
		if got := command.Code(err); got != c.want {
			t.Errorf("%s: exit code %d for %v, want %d", c.name, got, err, c.want)
		}
	}
	if command.Unusable(nil) != nil {
		t.Error("nothing wrong is a fault")
	}
}
