// Command controlplane signs and publishes policies for every boundary that its
// configuration names.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	store.SilenceGRPC()
	signal.Ignore(syscall.SIGHUP) // certificates are read again anyway
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := telemetry.NewLogger(stderr, zerolog.InfoLevel, "controlplane")
	telemetry.TakeStandardLog(log)
	root := newRoot(log, stdout)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	_, err := command.Execute(ctx, root)
	switch code := command.Code(err); code {
	case command.Done:
		return code
	case command.Usage:
		_, _ = fmt.Fprintf(stderr, "controlplane: %v\nsee 'controlplane --help'\n", err)
		return code
	default:
		log.Error().Err(err).Msg("ended")
		return code
	}
}

func newRoot(log zerolog.Logger, stdout io.Writer) *cobra.Command {
	var file string
	var loopback bool
	load := func() (controlplane.Config, error) {
		cfg, err := controlplane.LoadConfig(file)
		cfg.AllowLoopbackBackends = cfg.AllowLoopbackBackends || loopback
		return cfg, command.Unusable(err)
	}
	root := &cobra.Command{
		Use:   "controlplane --config FILE",
		Short: "Sign and publish policies, take orders, show what is in force",
		Long: `Sign and publish policies, take orders and show what is in force, for every
boundary of the configuration. A boundary without etcd endpoints gets an etcd
inside this process. Log lines in JSON go to stderr; one of them says "ready".

Exit codes: 0 stopped; 2 the command line or the configuration cannot be used; 1
something went wrong while running, a port in use for example.`,
		Version: telemetry.Version(),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			return controlplane.Run(cmd.Context(), cfg, log)
		},
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&file, "config", "", "the configuration file (YAML)")
	root.Flags().BoolVar(&loopback, "allow-loopback-backends", false, "accept policies with http://127.… backends: development and tests only")
	if err := root.MarkPersistentFlagRequired("config"); err != nil {
		panic("controlplane: the flag config was not defined") // two lines above
	}
	root.AddCommand(&cobra.Command{
		Use:   "check --config FILE",
		Short: "Validate the configuration and exit",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(stdout, "%s is valid: %d boundaries, listening on %s\n", file, len(cfg.Boundaries), cfg.Listen)
			return err
		},
	})
	return root
}
