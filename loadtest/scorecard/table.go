package scorecard

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// An Output is a form in which a card is written.
type Output string

// The outputs.
const (
	Text     Output = "text"
	JSON     Output = "json"
	Markdown Output = "markdown"
)

// Write writes the card.
func (c *Card) Write(w io.Writer, as Output) error {
	switch as {
	case Text:
		return c.writeText(w)
	case JSON:
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(c)
	case Markdown:
		_, err := io.WriteString(w, c.Table())
		return err
	}
	return fmt.Errorf("output %q, want %s, %s or %s", as, Text, JSON, Markdown)
}

func (c *Card) writeText(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells []string) { _, _ = fmt.Fprintln(tab, strings.Join(cells, "\t")) } // Flush tells errors
	line(head())
	for _, cells := range c.lines() {
		line(cells)
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, c.summary())
	return err
}

// Table is the card as a table in Markdown.
func (c *Card) Table() string {
	return markdown(head(), c.lines()) + "\n" + c.summary() + "\n"
}

// Few is the part of the table that readers in a hurry want: few rows, and of
// their columns those that say whether clients noticed.
func (c *Card) Few() string {
	var lines [][]string
	for _, want := range fewRows() {
		for _, cells := range c.lines() {
			if cells[0] == want[0] && cells[1] == want[1] {
				lines = append(lines, fewCells(cells))
			}
		}
	}
	return markdown(fewCells(head()), lines)
}

// fewRows are the rows of Few, by fault and kind of answer.
func fewRows() [][2]string {
	return [][2]string{
		{"connection refused", string(Plain)},
		{"accepts, then silence", string(Stream)},
		{"silence after the request", string(Plain)},
		{"reset at 20 byte offsets", string(Stream)},
		{"429, a time in any header", string(Plain)},
		{"500, 502, 503, 504, 529", string(Plain)},
		{"401: no role, or a bad key", string(Plain)},
		{"400 content filter", string(Plain)},
		{"whole region dead", string(Stream)},
		{"connection refused; silence", string(Session)},
	}
}

func fewCells(cells []string) []string {
	return []string{cells[0], cells[1], cells[2], cells[3], cells[5], cells[7], cells[9]}
}

// markdown is a table whose first three columns are words.
func markdown(head []string, lines [][]string) string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(head)
	line(append([]string{"---", "---", "---"}, slices.Repeat([]string{"--:"}, len(head)-3)...))
	for _, cells := range lines {
		line(cells)
	}
	return b.String()
}

func head() []string {
	return []string{
		"fault", "answer", "right answer", "got it", "of them ended honestly", "extra calls per request",
		"first asked", "first byte later, at most", "used again after", "outside",
	}
}

// lines are the rows with one, with two and with three faulty targets side by side.
func (c *Card) lines() [][]string {
	var lines [][]string
	for n := 0; n < len(c.Rows); {
		together := c.Rows[n : n+1]
		for end := n + 2; end <= len(c.Rows) && c.Rows[end-1].Fault == together[0].Fault && c.Rows[end-1].Mode == together[0].Mode; end++ {
			together = c.Rows[n:end]
		}
		n += len(together)
		cell := func(show func(Row) string) string {
			var parts []string
			for _, r := range together {
				parts = append(parts, show(r))
			}
			if same := slices.Compact(slices.Clone(parts)); len(same) == 1 {
				return same[0]
			}
			return strings.Join(parts, " / ")
		}
		outside := 0
		for _, r := range together {
			outside += r.Outside
		}
		lines = append(lines, []string{
			together[0].Fault, string(together[0].Mode),
			cell(func(r Row) string { return string(r.Right) }),
			cell(func(r Row) string { return percent(r.Complete+r.PassedOn+r.TimedOut+r.Honest, r.Requests) }),
			cell(func(r Row) string { return percent(r.Honest, r.Requests) }),
			cell(func(r Row) string { return fmt.Sprintf("%.2f", r.ExtraCalls()) }),
			cell(func(r Row) string { return percent(r.First, r.Requests) }),
			cell(func(r Row) string { return milliseconds(r.MaxAdded) }),
			cell(func(r Row) string { return seconds(r.Back) }),
			fmt.Sprint(outside),
		})
	}
	return lines
}

// percent never rounds up to 100: that is for all.
func percent(part, of int) string {
	switch {
	case of == 0:
		return "–"
	case part == of:
		return "100 %"
	case part == 0:
		return "0 %"
	}
	return fmt.Sprintf("%.1f %%", min(99.9, 100*float64(part)/float64(of)))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// seconds is a dash for what was not measured.
func seconds(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func (c *Card) summary() string {
	n, problems := 0, 0
	for _, r := range c.Rows {
		n += r.Requests
		problems += len(r.Problems)
	}
	return fmt.Sprintf("%d requests in %s, three targets, a / b / c: with one / two / three of them faulty; "+
		"first asked: of all requests, those whose first attempt a faulty one saw. Requirements not met: %d.",
		n, c.Took.Round(time.Second), problems)
}

// The marks between which a document carries the table.
const (
	beginMark = "<!-- scorecard:begin -->"
	endMark   = "<!-- scorecard:end -->"
)

// Replace puts the table between the marks of a document. Everything else in it
// stays as it is.
func Replace(document, table string) (string, error) {
	head, rest, ok := strings.Cut(document, beginMark)
	if !ok {
		return "", fmt.Errorf("no line %s says where the table belongs", beginMark)
	}
	_, tail, ok := strings.Cut(rest, endMark)
	if !ok {
		return "", fmt.Errorf("%s is not followed by %s", beginMark, endMark)
	}
	if strings.Contains(head, endMark) || strings.Contains(tail, beginMark) || strings.Contains(tail, endMark) {
		return "", fmt.Errorf("%s or %s is there twice", beginMark, endMark)
	}
	return head + beginMark + "\n" + strings.TrimSpace(table) + "\n" + endMark + tail, nil
}
