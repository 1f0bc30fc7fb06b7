// Command gateway runs one gateway of a stamp: the data plane.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/controlplane/store"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/stamp/telemetry"
)

func main() {
	// What a reload would read is read again anyway: keys, certificates, the policy.
	signal.Ignore(syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	_, err := command.Execute(ctx, newRoot())
	stop()
	if _, ok := errors.AsType[*gateway.ConfigError](err); ok {
		err = command.Unusable(err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
	}
	os.Exit(command.Code(err))
}

func newRoot() *cobra.Command {
	var f flags
	root := &cobra.Command{
		Use:   "gateway --config FILE",
		Short: "Run one gateway of a stamp",
		Long: `gateway carries Azure OpenAI calls to the backends of one data-residency boundary.

It logs JSON lines to stderr, and one line "ready" with its addresses when it
serves. SIGTERM drains it: health fails, streams finish, then it ends; a second
signal cuts that short. SIGQUIT writes all goroutines to stderr and goes on.

Exit codes: 0 drained and stopped; 2 the command line, the configuration or a
file that it names cannot be used, as 'gateway check' says as well; 1 something
went wrong while running, a port in use for example.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		Version: telemetry.Version(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), &f) },
	}
	root.PersistentFlags().StringVar(&f.config, "config", "", "configuration file (required)")
	root.PersistentFlags().BoolVar(&f.loopback, "allow-loopback-backends", false, "permit http://127.… backends: development and tests only")
	root.PersistentFlags().StringVar(&f.level, "log-level", "info", "debug, info, warn or error")
	if err := root.MarkPersistentFlagRequired("config"); err != nil {
		panic("gateway: the flag config was not defined: " + err.Error())
	}
	root.AddCommand(&cobra.Command{
		Use: "check --config FILE", Short: "Say whether a gateway would start with a configuration", Args: cobra.NoArgs,
		Long: `check reads a configuration and every file that it names, as the gateway does
before it starts: certificates, tokens, keys, a policy file (compiled, within the
residency of the configuration), and whether cacheDir can be written. It opens
no port, asks no etcd and no backend, and leaves nothing behind.

Exit codes: 0 the gateway would start; 2 it would not, for the reasons printed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load()
			if err != nil {
				return err
			}
			if err := cfg.Check(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: gateway %s of boundary %s in %s: good\n", f.config, cfg.Name, cfg.Boundary, cfg.Region)
			return err
		},
	})
	return root
}

type flags struct {
	config   string
	loopback bool
	level    string
}

func (f *flags) load() (gateway.Config, error) {
	cfg, err := gateway.LoadConfig(f.config)
	if err != nil {
		return gateway.Config{}, command.Unusable(err)
	}
	cfg.AllowLoopback = f.loopback
	return cfg, nil
}

// logQueue is how many log lines may wait for a slow stderr: a second's worth at
// the busiest rate that one gateway was measured at.
const logQueue = 16 << 10

func run(ctx context.Context, f *flags) error {
	level, err := zerolog.ParseLevel(f.level)
	if err != nil {
		return command.Usagef("--log-level: %w", err)
	}
	cfg, err := f.load()
	if err != nil {
		return err
	}
	out := telemetry.NewAsyncWriter(os.Stderr, logQueue)
	defer func() { //nolint:contextcheck // the log is flushed after ctx has ended
		flush, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = out.Close(flush) // there is nowhere left to say it
	}()
	log := telemetry.NewLogger(out, level, "gateway")
	telemetry.TakeStandardLog(log)
	store.SilenceGRPC()
	quit, stopQuit := context.WithCancel(context.Background())
	defer stopQuit()
	go telemetry.DumpOnQuit(quit, os.Stderr) //nolint:contextcheck // dumps are wanted above all while the process stops

	return gateway.Run(ctx, cfg, gateway.Options{Log: log, Hurry: secondSignal(ctx), LogDropped: out})
}

// secondSignal returns a context that ends at the first signal after ctx ended.
func secondSignal(ctx context.Context) context.Context {
	hurry, cut := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		go func() {
			<-again
			cut()
		}()
	})
	return hurry
}
