package main

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/cmd/internal/command"
)

// Whatever someone wrote, what is shown is one line without a command to the
// terminal, and nothing of it is lost that is text.
func TestCleanTextIsOneLineThatCommandsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		written := rapid.String().Draw(t, "written")
		shown := clean(written)
		if utf8.RuneCountInString(shown) != utf8.RuneCountInString(written) || clean(shown) != shown {
			t.Fatalf("%q becomes %q", written, shown)
		}
		for _, r := range shown {
			if unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Fatalf("%q shows %U", written, r)
			}
		}
		if plain := rapid.StringMatching(`[a-zåäö0-9 .,:;-]{0,40}`).Draw(t, "plain"); clean(plain) != plain {
			t.Fatalf("%q becomes %q", plain, clean(plain))
		}
	})
	if got := clean("a\xff\xfeb"); strings.ContainsRune(got, utf8.RuneError) || !utf8.ValidString(got) {
		t.Errorf("bytes that are no text: %q", got)
	}
}

// In a table every cell of a column begins at the same place, and no line ends
// with a space.
func TestTablesAlignWhateverIsInThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringMatching(`[a-zåäö·]{1,12}`)
		columns := rapid.IntRange(1, 5).Draw(t, "columns")
		row := rapid.SliceOfN(cell, columns, columns)
		table := newTable(row.Draw(t, "head")...)
		rows := rapid.SliceOfN(row, 0, 6).Draw(t, "rows")
		for _, r := range rows {
			table.add(r...)
		}
		var out strings.Builder
		table.write(&out)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines of %d rows:\n%s", len(lines), len(rows), out.String())
		}
		var starts []int
		for i, line := range lines {
			if strings.HasSuffix(line, " ") {
				t.Fatalf("line %q ends with a space", line)
			}
			var here []int
			before := ' '
			for at, r := range []rune(line) {
				if r != ' ' && before == ' ' {
					here = append(here, at)
				}
				before = r
			}
			if i == 0 {
				starts = here
			}
			if len(here) != columns || !slices.Equal(here, starts) {
				t.Fatalf("columns begin at %v, those of the head at %v:\n%s", here, starts, out.String())
			}
		}
	})
}

func TestWhatIsNotThereIsADash(t *testing.T) {
	if got := orDash(""); got != "-" {
		t.Errorf("nothing: %q", got)
	}
	if got := moment(time.Time{}); got != "-" {
		t.Errorf("no time: %q", got)
	}
	if got := short(""); got != "-" {
		t.Errorf("no digest: %q", got)
	}
	if got := short("0123456789abcdef"); got != "0123456789ab" {
		t.Errorf("a digest: %q", got)
	}
	at := time.Date(2026, 5, 4, 3, 2, 1, 999, time.FixedZone("", 2*3600))
	if got := moment(at); got != "2026-05-04 01:02:01Z" {
		t.Errorf("a time of another zone: %q", got)
	}
}

type noPaper struct{}

func (noPaper) Write([]byte) (int, error) { return 0, errors.New("no paper") }

// A result that cannot be written is a failure: a script must not go on with
// half of it.
func TestAResultThatCannotBeWrittenIsAFailure(t *testing.T) {
	var errs strings.Builder
	code := run(t.Context(), []string{"key", "create", "a", "-b", "eu", "-o", "json"}, streams{out: noPaper{}, err: &errs})
	if code != command.Failed || !strings.Contains(errs.String(), "write the result: no paper") {
		t.Errorf("%d %s", code, errs.String())
	}
}

// JSON is the value itself: indented, with < and & as they are, and one line
// feed at its end.
func TestJSONIsWrittenAsPeopleReadIt(t *testing.T) {
	var out strings.Builder
	g := &globals{streams: streams{out: &out}, output: outputJSON}
	value := map[string]string{"a": "<b> & \"c\""}
	if err := g.show(value, func(io.Writer) { t.Error("as text too") }); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"a\": \"<b> & \\\"c\\\"\"\n}\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	var back map[string]string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil || back["a"] != value["a"] {
		t.Errorf("%v, %v", back, err)
	}
}
