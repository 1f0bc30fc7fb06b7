package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/controlplane/client"
	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/geo"
)

// candidate is a document that is about to be compared or published.
type candidate struct {
	source []byte
	doc    *policy.Document
}

// readCandidate reads a document far enough to know its boundary. Whether it is
// valid is for the control plane to say.
func (g *globals) readCandidate(name string) (candidate, error) {
	source, err := g.readSource(name)
	if err != nil {
		return candidate{}, err
	}
	doc, err := policy.Decode(source)
	if refused, ok := errors.AsType[*policy.Error](err); ok {
		return candidate{}, g.showVerdict(name, policy.Verdict{Faults: refused.Faults, Warnings: []policy.Fault{}})
	}
	if err != nil {
		return candidate{}, err
	}
	if doc.Boundary == "" {
		return candidate{}, g.showVerdict(name, policy.Verdict{
			Faults: []policy.Fault{{Path: "boundary", Text: "is missing: name the boundary that the policy is for"}}, Warnings: []policy.Fault{},
		})
	}
	return candidate{source, doc}, nil
}

func policyDiffCommand(g *globals) *cobra.Command {
	var serial uint64
	cmd := &cobra.Command{
		Use:   "diff FILE",
		Short: "Show what applying a policy would change",
		Long: `Show what applying a policy would change against the one in force, or against the
publication that --serial names. What they say is compared, so comments and
the order of fields make no difference. FILE may be -.`,
		Args: operands("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			next, err := g.readCandidate(args[0])
			if err != nil {
				return err
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			d, err := difference(cmd.Context(), c, next, serial)
			if err != nil {
				return err
			}
			return g.show(d, d.write)
		},
	}
	cmd.Flags().Uint64Var(&serial, "serial", 0, "compare with this publication instead of the one in force")
	return cmd
}

type policyDiff struct {
	Boundary geo.Boundary `json:"boundary"`
	Serial   uint64       `json:"serial"` // what was compared with; 0: nothing is in force
	Changed  bool         `json:"changed"`
	Diff     string       `json:"diff"`
}

func (d policyDiff) write(w io.Writer) {
	if !d.Changed {
		_, _ = fmt.Fprintf(w, "no difference to policy %d of %s\n", d.Serial, d.Boundary)
		return
	}
	_, _ = io.WriteString(w, d.Diff)
}

func difference(ctx context.Context, c *client.Client, next candidate, serial uint64) (policyDiff, error) {
	old, err := c.Policy(ctx, next.doc.Boundary, serial)
	if err != nil && (serial != 0 || !nothingInForce(ctx, c, next.doc.Boundary, err)) {
		return policyDiff{}, err
	}
	d := policyDiff{Boundary: next.doc.Boundary, Serial: old.Serial}
	before := []byte(old.Document)
	if doc, err := policy.Decode(before); err == nil { // else a newer program wrote it: shown as it is
		if policy.Equal(doc, next.doc) {
			return d, nil
		}
		if before, err = plainly(doc); err != nil {
			return policyDiff{}, err
		}
	}
	after, err := plainly(next.doc)
	if err != nil {
		return policyDiff{}, err
	}
	text := diff.Diff("policy "+strconv.FormatUint(old.Serial, 10), before, "the new policy", after)
	if _, rest, ok := bytes.Cut(text, []byte("\n")); ok {
		text = rest // the first line names the command that would have made it
	}
	d.Changed, d.Diff = true, string(text)
	return d, nil
}

// plainly writes a document without comments and in the order of its fields, so
// that a difference shows what is said differently, and nothing else.
func plainly(doc *policy.Document) ([]byte, error) {
	var text bytes.Buffer
	enc := yaml.NewEncoder(&text)
	enc.SetIndent(2)
	said := *doc
	said.Format = 0 // what is written there is 1, or nothing, which is the same
	if err := errors.Join(enc.Encode(&said), enc.Close()); err != nil {
		return nil, fmt.Errorf("write the policy for comparison: %w", err)
	}
	return text.Bytes(), nil
}

// nothingInForce tells a boundary without a policy from one that the control
// plane does not have.
func nothingInForce(ctx context.Context, c *client.Client, b geo.Boundary, err error) bool {
	if _, ok := errors.AsType[*client.NotFoundError](err); !ok {
		return false
	}
	status, err := c.BoundaryStatus(ctx, b)
	return err == nil && status.Reachable && status.Policy == nil
}

// publishFlags are the flags of commands that publish.
type publishFlags struct {
	author  string
	message string
	expect  int64 // what must be in force; negative: whatever is
	dryRun  bool
	again   bool
}

func (f *publishFlags) define(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.message, "message", "m", "", "why, for the history and the audit trail")
	cmd.Flags().StringVar(&f.author, "author", "", "who, for the history and the audit trail; default: $"+envAuthor+" or the login name")
	cmd.Flags().Int64Var(&f.expect, "expect", -1, "publish only if this serial is in force (0: none), so that nobody's change is lost")
	cmd.Flag("expect").DefValue = "0" // keeps the help from naming the -1 that stands for "not given"
}

func (f *publishFlags) who() string {
	if f.author != "" {
		return f.author
	}
	return author()
}

func (f *publishFlags) expected() *uint64 {
	if f.expect < 0 {
		return nil
	}
	return new(uint64(f.expect))
}

func policyApplyCommand(g *globals) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Publish a policy: every gateway of its boundary puts it in force",
		Long: `Publish a policy for the boundary that it names. The control plane validates and
signs it; every gateway checks it again and puts it in force, without a restart
and without touching requests that run. 'stampctl status' shows who has it. A
policy that says what is in force already is not published twice, whatever its
comments; --again does. FILE may be -.

Exit code 3 if it is refused; then nothing was changed.`,
		Example: "  stampctl policy apply eu.yaml --message 'add france'",
		Args:    operands("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			next, err := g.readCandidate(args[0])
			if err != nil {
				return err
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			if f.dryRun {
				return g.dryRun(cmd.Context(), c, args[0], next)
			}
			p, err := c.Publish(cmd.Context(), next.doc.Boundary, next.source, client.PublishOptions{
				Author: f.who(), Message: f.message, ExpectSerial: f.expected(), Again: f.again,
			})
			return g.published(args[0], p, err)
		},
	}
	f.define(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "have the control plane validate it, show the difference, publish nothing")
	cmd.Flags().BoolVar(&f.again, "again", false, "publish also what is in force already, to sign it with a new key or for its comments")
	return cmd
}

func (g *globals) dryRun(ctx context.Context, c *client.Client, name string, next candidate) error {
	v, err := c.Validate(ctx, next.doc.Boundary, next.source)
	if err != nil {
		return err
	}
	if !v.Valid {
		return g.showVerdict(name, v)
	}
	d, err := difference(ctx, c, next, 0)
	if err != nil {
		return err
	}
	g.warn(v.Warnings)
	return g.show(d, d.write)
}

// published shows what became of a publication.
func (g *globals) published(name string, p client.Publication, err error) error {
	if refused, ok := errors.AsType[*client.RefusedError](err); ok {
		return g.showVerdict(name, policy.Verdict{Faults: refused.Faults, Warnings: refused.Warnings})
	}
	if err != nil {
		return err
	}
	g.warn(p.Warnings)
	return g.show(p, func(w io.Writer) {
		if p.Unchanged {
			_, _ = fmt.Fprintf(w, "policy %d of %s says this already: nothing to do\n", p.Serial, p.Boundary)
			return
		}
		_, _ = fmt.Fprintf(w, "published policy %d of %s, digest %s\n", p.Serial, p.Boundary, p.Digest)
		if p.Note != "" {
			_, _ = fmt.Fprintln(w, clean(p.Note))
		}
	})
}

func policyGetCommand(g *globals) *cobra.Command {
	var serial uint64
	cmd := &cobra.Command{
		Use:   "get BOUNDARY",
		Short: "Print the policy in force, or an earlier one",
		Args:  operands("BOUNDARY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Policy(cmd.Context(), geo.Boundary(args[0]), serial)
			if err != nil {
				return withSerial(err, args[0], serial)
			}
			if !p.Genuine {
				return fmt.Errorf("policy %d of %s is not genuine (%s): no gateway follows it; publish a good one", p.Serial, args[0], clean(p.Problem))
			}
			return g.show(p, func(w io.Writer) { _, _ = io.WriteString(w, p.Document) })
		},
	}
	cmd.Flags().Uint64Var(&serial, "serial", 0, "the publication of this number instead of the one in force")
	return cmd
}

// withSerial adds to "no such serial" which one, and where they are listed.
func withSerial(err error, boundary string, serial uint64) error {
	if _, ok := errors.AsType[*client.NotFoundError](err); ok && serial != 0 {
		return fmt.Errorf("policy %d of %s: %w: 'stampctl policy history %s' lists what is kept", serial, boundary, err, boundary)
	}
	return err
}

func policyHistoryCommand(g *globals) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "history BOUNDARY",
		Short: "List the publications of a boundary, the latest first",
		Args:  operands("BOUNDARY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.History(cmd.Context(), geo.Boundary(args[0]), limit)
			if err != nil {
				return err
			}
			return g.show(client.HistoryReply{History: list}, func(w io.Writer) { writeHistory(w, list) })
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "how many")
	return cmd
}

func writeHistory(w io.Writer, list []client.Publication) {
	t := newTable("SERIAL", "TIME", "AUTHOR", "DIGEST", "MESSAGE")
	for _, p := range list {
		message := clean(p.Message)
		if !p.Genuine {
			message = "NOT GENUINE: " + clean(p.Problem)
		}
		t.add(strconv.FormatUint(p.Serial, 10), moment(p.Time), orDash(p.Author), short(p.Digest), orDash(message))
	}
	t.write(w)
}

// short is enough of a digest to compare by eye.
func short(digest string) string { return orDash(digest[:min(len(digest), 12)]) }

func policyRollbackCommand(g *globals) *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "rollback BOUNDARY SERIAL",
		Short: "Publish an earlier policy again, under a new serial",
		Args:  operands("BOUNDARY", "SERIAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			serial, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil || serial == 0 {
				return usage("serial %q: want the number of an earlier publication, as 'stampctl policy history %s' lists them", args[1], args[0])
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Rollback(cmd.Context(), geo.Boundary(args[0]), client.RollbackRequest{
				Serial: serial, Author: f.who(), Message: f.message, ExpectSerial: f.expected(),
			})
			return g.published("policy "+args[1], p, withSerial(err, args[0], serial))
		},
	}
	f.define(cmd)
	return cmd
}
