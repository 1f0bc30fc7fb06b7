package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/stampgate/stampgate/cmd/internal/command"
	"github.com/stampgate/stampgate/gateway"
	"github.com/stampgate/stampgate/gateway/upstream"
	"github.com/stampgate/stampgate/loadtest/scorecard"
)

// scorecardFlags are what the command line says.
type scorecardFlags struct {
	short    bool
	parallel int
	output   string
	documents
}

// documents are those whose tables are replaced.
type documents struct {
	table string // the whole one
	few   string // the one of few rows
}

func scorecardCommand() *cobra.Command {
	var f scorecardFlags
	c := &cobra.Command{
		Use:   "scorecard",
		Short: "Measure what each fault of a backend costs the clients of a gateway",
		Long: `Measure what each fault of a backend costs the clients of a gateway.

For every class of fault, with one and with two of three targets faulty, and
with all where that means something else, a fresh gateway is asked by two
clients on this machine, for plain answers, streams and sessions by WebSocket.

The table says for each what the right answer is to a request that the fault
strikes, how many requests got it, how many streams that had begun ended with
an error event and a broken connection, how many attempts were made beyond one
for each request, how many first attempts the faulty targets saw, how much
later than in a healthy run the first byte came, how soon the targets were used
again once the fault was over, and how many calls went outside the boundary.

The exit code is 1 if a request got a wrong answer, or was broken off by a fault
that came before the first byte, if one cost more attempts than its answer may,
if the faulty targets saw more than a fair share of first attempts or were not
used again in time, or if anything went outside.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	fl := c.Flags()
	fl.BoolVar(&f.short, "short", false, "fewer requests and byte offsets")
	fl.IntVar(&f.parallel, "parallel", 0, "runs at the same time (default 16)")
	fl.StringVar(&f.output, "output", string(scorecard.Text), "text, json or markdown")
	fl.StringVar(&f.table, "write", "", "a document whose table, between the marks scorecard:begin and scorecard:end, is replaced")
	fl.StringVar(&f.few, "write-few", "", "a document in which the ten rows that matter most are replaced, between the same marks")
	return c
}

func (f scorecardFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	output := scorecard.Output(f.output)
	switch output {
	case scorecard.Text, scorecard.JSON, scorecard.Markdown:
	default:
		return command.Usagef("--output %q, want text, json or markdown", f.output)
	}
	if err := f.check(); err != nil { // known now, not after minutes
		return err
	}
	card, err := scorecard.Run(ctx, scorecard.Config{
		Gateway: runGateway, Short: f.short, Parallel: f.parallel,
		Progress: func(done, of int) {
			if done%20 == 0 || done == of {
				_, _ = fmt.Fprintf(stderr, "%d of %d runs\n", done, of)
			}
		},
	})
	if err != nil {
		return err
	}
	if err := card.Write(stdout, output); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	if err := f.rewrite(card); err != nil {
		return err
	}
	return card.Err()
}

// check reports a document that is not there, or has no place for a table.
func (d documents) check() error {
	for _, file := range []string{d.table, d.few} {
		if file == "" {
			continue
		}
		if _, _, err := rewritten(file, ""); err != nil {
			return err
		}
	}
	return nil
}

// rewrite replaces the table of each document that was named.
func (d documents) rewrite(card *scorecard.Card) error {
	if d.table != "" {
		if err := rewrite(d.table, card.Table()); err != nil {
			return err
		}
	}
	if d.few != "" {
		return rewrite(d.few, card.Few())
	}
	return nil
}

// runGateway starts the gateway as its command does, but for trust in the
// simulator's certificates and leave to use backends on this machine.
func runGateway(ctx context.Context, text []byte, roots *x509.CertPool, ready func(url string)) error {
	cfg, err := gateway.ParseConfig(text)
	if err != nil {
		return err
	}
	cfg.AllowLoopback = true
	return gateway.Run(ctx, cfg, gateway.Options{
		Log: zerolog.Nop(), Dialer: upstream.Dialer{Roots: roots},
		Ready: func(a gateway.Addresses) { ready(a.URL) },
	})
}

// rewrite replaces the table in a document.
func rewrite(file, table string) error {
	text, mode, err := rewritten(file, table)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}

// rewritten is the document with another table, and its mode.
func rewritten(file, table string) (string, os.FileMode, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", 0, fmt.Errorf("read the document: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", 0, fmt.Errorf("read the document: %w", err)
	}
	changed, err := scorecard.Replace(string(text), table)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", file, err)
	}
	return changed, info.Mode().Perm(), nil
}
