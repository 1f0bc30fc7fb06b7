package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/loadtest/azuresim"
)

// simulateHelp is followed by the kinds of fault.
const simulateHelp = `Run simulated Azure OpenAI instances, each on its own address, with a control
API that shows what arrived and sets latencies and faults.

Describe the instances in a YAML file (--config) or by --instance, one for
each, as name=value pairs with commas between them:

  --instance 'name=swc-ptu,region=Sweden Central,listen=127.0.0.5:0,key=k1,deployment=gpt-5.4:gpt-5.4:2026-03-05:ProvisionedManaged:ptu=100'

name, listen and deployment are needed; deployment may be repeated and is
NAME[:MODEL[:VERSION[:SKU[:tpm=N][:rpm=N][:ptu=N]]]]. tls=true makes a
certificate, tls-name=HOST adds a name to it.

One JSON line on standard error with the message "ready" names all URLs, that of
the control API as control:

  GET /instances                 what there is, with counts
  GET /records                   what arrived, without its text; ?since=NUMBER
  GET, PUT /instances/NAME/latency
                                 {"firstToken":"40ms","perToken":"4ms","tokens":16,"jitter":0.2}
  PUT, POST, DELETE /instances/NAME/faults
                                 a list of faults, one more, none any more
  POST /faults?region=R          one fault at every instance of a region
  DELETE /faults, /records       end all faults, forget all records

A fault has the same names in JSON and in YAML, and a short form, for the header
x-sim-fault too (--header-faults):

  {"kind":"throttle","retryAfterMs":"1500","count":3,"deployment":"gpt-5.4"}
  throttle;retry-after-ms=1500;count=3;deployment=gpt-5.4

Which: deployment, operation, only (stream, plain, session), count, share, for.
How: status, error, retryAfter, retryAfterMs, resetRequests, resetTokens, limit,
wait, after, bytes, delay, interval, certificate, length, end, model, code. Kinds:

%s`

// wrapped writes words in lines of at most so many characters, indented by two.
func wrapped[T ~string](words []T, width int) string {
	var b strings.Builder
	line := width
	for i, w := range words {
		if line += len(w) + 2; line > width {
			if i > 0 {
				b.WriteString("\n")
			}
			b.WriteString("  ")
			line = 2 + len(w)
		} else {
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// simulateFlags are what the command line says.
type simulateFlags struct {
	configFile   string
	control      string
	instances    []string
	apiKey       string
	firstToken   time.Duration
	perToken     time.Duration
	tokens       int
	jitter       float64
	headerFaults bool
	caFile       string
	maxRecords   int
	seed         uint64
}

func simulateCommand() *cobra.Command {
	var f simulateFlags
	c := &cobra.Command{
		Use:   "simulate",
		Short: "Run simulated Azure OpenAI instances until interrupted",
		Long:  fmt.Sprintf(simulateHelp, wrapped(azuresim.FaultKinds(), 78)),
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return simulate(cmd.Context(), f, cmd.ErrOrStderr())
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.configFile, "config", "", "YAML file with the instances; flags that are given change its settings")
	fl.StringVar(&f.control, "control", "", "address of the control API and the identity endpoint (default 127.0.0.1:0)")
	fl.StringArrayVar(&f.instances, "instance", nil, "an instance, as above; may be repeated")
	fl.StringVar(&f.apiKey, "api-key", "", "key of every instance that has none of its own")
	fl.DurationVar(&f.firstToken, "first-token", 0, "wait before the first token")
	fl.DurationVar(&f.perToken, "per-token", 0, "wait before each further token")
	fl.IntVar(&f.tokens, "tokens", 0, "tokens in an answer (default 16)")
	fl.Float64Var(&f.jitter, "jitter", 0, "share, 0 to 1, by which each wait varies")
	fl.BoolVar(&f.headerFaults, "header-faults", false, "let requests ask for faults by the header x-sim-fault")
	fl.StringVar(&f.caFile, "ca-file", "", "where to write the certificate of the generated authority")
	fl.IntVar(&f.maxRecords, "max-records", 0, "records kept per instance (default 10000)")
	fl.Uint64Var(&f.seed, "seed", 0, "seed of jitter and of fault shares")
	return c
}

// simulate runs until ctx ends.
func simulate(ctx context.Context, f simulateFlags, stderr io.Writer) error {
	cfg, err := f.config()
	if err != nil {
		return command.Unusable(err)
	}
	log := zerolog.New(stderr).With().Timestamp().Logger()
	sim, err := azuresim.Start(ctx, cfg, log)
	if err != nil {
		return fmt.Errorf("start simulator: %w", err)
	}
	log.Info().Str("control", sim.ControlURL()).Str("identity", sim.IdentityURL()).Str("ca_file", cfg.CAFile).
		Interface("instances", sim.URLs()).Msg("ready")
	<-ctx.Done()
	return sim.Close()
}

// config joins the file and the flags; flags win.
func (f simulateFlags) config() (azuresim.Config, error) {
	var cfg azuresim.Config
	if f.configFile != "" {
		text, err := os.ReadFile(f.configFile)
		if err != nil {
			return cfg, fmt.Errorf("read configuration: %w", err)
		}
		if cfg, err = azuresim.ParseConfig(text); err != nil {
			return cfg, fmt.Errorf("%s: %w", f.configFile, err)
		}
	}
	for n, text := range f.instances {
		i, err := parseInstance(text)
		if err != nil {
			return cfg, fmt.Errorf("--instance %d: %w", n+1, err)
		}
		cfg.Instances = append(cfg.Instances, i)
	}
	if len(cfg.Instances) == 0 {
		return cfg, errors.New("no instances: give --config or --instance (see loadtest simulate --help)")
	}
	override(&cfg.ControlListen, f.control)
	if cfg.ControlListen == "" {
		cfg.ControlListen = "127.0.0.1:0"
	}
	override(&cfg.Latency.FirstToken, f.firstToken)
	override(&cfg.Latency.PerToken, f.perToken)
	override(&cfg.Latency.Tokens, f.tokens)
	override(&cfg.Latency.Jitter, f.jitter)
	override(&cfg.HeaderFaults, f.headerFaults)
	override(&cfg.CAFile, f.caFile)
	override(&cfg.MaxRecords, f.maxRecords)
	override(&cfg.Seed, f.seed)
	for n := range cfg.Instances {
		if i := &cfg.Instances[n]; i.APIKey == "" && !i.KeysDisabled {
			i.APIKey = f.apiKey
		}
	}
	return cfg, nil
}

// override sets what a flag was given for.
func override[T comparable](setting *T, flag T) {
	var none T
	if flag != none {
		*setting = flag
	}
}

// parseInstance reads the value of --instance.
func parseInstance(text string) (azuresim.InstanceConfig, error) {
	var i azuresim.InstanceConfig
	for pair := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return i, fmt.Errorf("%q, want name=value", pair)
		}
		switch strings.TrimSpace(name) {
		case "name":
			i.Name = value
		case "region":
			i.Region = value
		case "listen":
			i.Listen = value
		case "key":
			i.APIKey = value
		case "deployment":
			d, err := parseDeployment(value)
			if err != nil {
				return i, err
			}
			i.Deployments = append(i.Deployments, d)
		case "tls":
			on, err := strconv.ParseBool(value)
			if err != nil {
				return i, fmt.Errorf("tls = %q, want true or false", value)
			}
			if on && i.TLS == nil {
				i.TLS = &azuresim.TLSConfig{}
			}
		case "tls-name":
			if i.TLS == nil {
				i.TLS = &azuresim.TLSConfig{}
			}
			i.TLS.Names = append(i.TLS.Names, value)
		default:
			return i, fmt.Errorf("no setting %q; there are name, region, listen, key, deployment, tls, tls-name", name)
		}
	}
	return i, nil
}

// parseDeployment reads NAME[:MODEL[:VERSION[:SKU[:limit=N]…]]].
func parseDeployment(text string) (azuresim.DeploymentConfig, error) {
	var d azuresim.DeploymentConfig
	fields := []*string{&d.Name, &d.Model, &d.Version, &d.SKU}
	for n, part := range strings.Split(text, ":") {
		if n < len(fields) {
			*fields[n] = part
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		limit, err := strconv.Atoi(value)
		if err != nil {
			return d, fmt.Errorf("deployment %s: %q, want tpm=N, rpm=N or ptu=N", d.Name, part)
		}
		switch name {
		case "tpm":
			d.TokensPerMinute = limit
		case "rpm":
			d.RequestsPerMinute = limit
		case "ptu":
			d.PTU = limit
		default:
			return d, fmt.Errorf("deployment %s: no limit %q; there are tpm, rpm and ptu", d.Name, name)
		}
	}
	return d, nil
}
