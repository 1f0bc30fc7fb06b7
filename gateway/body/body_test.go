package body_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/gateway/body"
)

// text draws bytes, short or about as long as what is copied.
func text(t *rapid.T) []byte {
	seed := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(t, "seed")
	n := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(body.CopiedUpTo-40, body.CopiedUpTo+40), rapid.Just(3*body.CopiedUpTo)).Draw(t, "length")
	return bytes.Repeat(seed, n/len(seed)+1)[:n]
}

// edits draws edits of a body of n bytes, in their order; they may be empty, touch,
// and stand at either end.
func edits(t *rapid.T, n int) []body.Edit {
	at := rapid.SliceOfN(rapid.IntRange(0, n), 0, 8).Draw(t, "places")
	slices.Sort(at)
	var list []body.Edit
	for i := 0; i+1 < len(at); i += 2 {
		list = append(list, body.Edit{Start: at[i], End: at[i+1], Text: rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "text")})
	}
	return list
}

// plainly is what a body becomes, made the plain way: from the last edit to the
// first, each by itself.
func plainly(p []byte, list []body.Edit) []byte {
	for _, e := range slices.Backward(list) {
		p = slices.Concat(p[:e.Start], e.Text, p[e.End:])
	}
	return p
}

func TestEditsAreMadeAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		original := text(t)
		kept := bytes.Clone(original)
		file, err := body.Spool(dir, original[:len(original)/3], bytes.NewReader(original[len(original)/3:]), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for name, source := range map[string]body.Source{"memory": body.Memory(original), "file": file} {
			list := edits(t, len(original))
			want := plainly(kept, list)
			for range 2 { // an attempt, and its repetition
				r, length, err := source.Open(list...)
				if err != nil {
					t.Fatal(err)
				}
				got := &bytes.Buffer{}
				piece := len(original)/100 + rapid.IntRange(1, 9000).Draw(t, "piece")
				_, err = io.CopyBuffer(struct{ io.Writer }{got}, struct{ io.Reader }{r}, make([]byte, piece))
				if err != nil || length != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
					t.Fatalf("%s, %v: %d bytes announced, %d read, want %d; %v", name, list, length, got.Len(), len(want), err)
				}
				if err := r.Close(); err != nil || !source.Repeatable() || source.Spent() {
					t.Fatalf("%s: cannot be opened again: %v", name, err)
				}
			}
		}
		if !bytes.Equal(original, kept) {
			t.Fatal("the client's bytes were changed")
		}
	})
}

func TestWhatPassesThroughIsSpentOnceRead(t *testing.T) {
	for _, length := range []int64{5, -1} {
		source := body.Through(strings.NewReader("hello"), length)
		for range 2 { // a backend that cannot be reached reads nothing
			r, n, err := source.Open()
			if err != nil || n != length || source.Spent() || source.Repeatable() {
				t.Fatalf("length %d, spent %v, %v", n, source.Spent(), err)
			}
			_ = r.Close()
		}
		r, _, err := source.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err != nil || !source.Spent() {
			t.Errorf("spent after a read: %v, %v", source.Spent(), err)
		}
		if _, _, err := source.Open(); !errors.Is(err, body.ErrSpent) {
			t.Errorf("a body that was read opens again: %v", err)
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "ello" {
			t.Errorf("the rest is %q, %v", rest, err)
		}
	}
}

// A read that fails may have taken bytes from the client.
func TestWhatPassesThroughIsSpentByAFailedRead(t *testing.T) {
	source := body.Through(iotest.ErrReader(io.ErrUnexpectedEOF), 5)
	r, _, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) || !source.Spent() {
		t.Errorf("spent: %v, %v", source.Spent(), err)
	}
}

func TestWhatPassesThroughTakesNoEdits(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an edit is passed over in silence")
		}
	}()
	_, _, _ = body.Through(strings.NewReader("hello"), 5).Open(body.Edit{End: 1})
}

// files is what stands in a folder.
func files(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Whatever ends the process, nothing of a body is left behind: its file never has a
// name while it holds anything.
func TestAFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	looks := 0
	file, err := body.Spool(dir, []byte("begun "), io.MultiReader(
		readFunc(func([]byte) (int, error) {
			looks += 1 + len(files(t, dir))
			return 0, io.EOF
		}), strings.NewReader("and ended")), 100)
	if err != nil {
		t.Fatal(err)
	}
	text, err := file.Bytes()
	if err != nil || string(text) != "begun and ended" || file.Size() != 15 {
		t.Errorf("%q of %d bytes, %v", text, file.Size(), err)
	}
	if again, err := file.Bytes(); err != nil || string(again) != string(text) {
		t.Errorf("looked at again: %q, %v", again, err)
	}
	if looks != 1 || len(files(t, dir)) != 0 {
		t.Errorf("the folder has %v; %d looks while it was written", files(t, dir), looks)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// A caller that allows n bytes asks for one more, and sees by the size that it came.
func TestABodyLongerThanAllowedIsNoticed(t *testing.T) {
	for _, tt := range []struct{ read, rest, most, size int }{
		{0, 0, 11, 0},
		{0, 10, 11, 10},
		{0, 11, 11, 11},
		{0, 12, 11, 11},
		{0, 1 << 20, 11, 11},
		{4, 6, 11, 10},
		{4, 1 << 20, 11, 11},
		{11, 5, 11, 11},
		{0, 100_001, 100_001, 100_001},
		{70_000, 1 << 20, 100_001, 100_001},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"as it comes": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "the end with the last bytes": iotest.DataErrReader,
		} {
			rest := strings.NewReader(strings.Repeat("b", tt.rest))
			file, err := body.Spool(t.TempDir(), bytes.Repeat([]byte("a"), tt.read), wrap(rest), int64(tt.most))
			if err != nil {
				t.Fatal(err)
			}
			text, err := file.Bytes()
			want := strings.Repeat("a", tt.read) + strings.Repeat("b", tt.size-tt.read)
			if err != nil || file.Size() != int64(tt.size) || string(text) != want {
				t.Errorf("%+v, %s: %d bytes, %v", tt, name, file.Size(), err)
			}
			_ = file.Close()
		}
	}
}

// A client that breaks off is not the folder's fault.
func TestAnErrorOfReadingIsNotTheFolders(t *testing.T) {
	dir := t.TempDir()
	file, err := body.Spool(dir, []byte("begun"), iotest.ErrReader(os.ErrDeadlineExceeded), 100)
	if file != nil || !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, body.ErrFolder) {
		t.Errorf("%v", err)
	}
	if list := files(t, dir); len(list) != 0 {
		t.Errorf("the folder has %v", list)
	}
}

func TestAFolderThatIsNotThere(t *testing.T) {
	if _, err := body.Spool(filepath.Join(t.TempDir(), "none"), nil, strings.NewReader("x"), 100); !errors.Is(err, body.ErrFolder) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// An attempt that still sends a body when its request has ended gets an error, and
// never the end of a body that looks whole.
func TestAReaderOutlivesItsFile(t *testing.T) {
	for _, looked := range []bool{false, true} {
		const size = 1 << 20
		file, err := body.Spool(t.TempDir(), nil, io.LimitReader(readFunc(func(p []byte) (int, error) { return len(p), nil }), size), size+1)
		if err != nil {
			t.Fatal(err)
		}
		if looked {
			if _, err := file.Bytes(); err != nil {
				t.Fatal(err)
			}
		}
		reading, ended := make(chan struct{}), make(chan error)
		go func() {
			r, _, err := file.Open(body.Edit{Start: 10, End: 20})
			for n := 0; err == nil; n++ { // over and over, so that the file is closed in the middle
				if n == 1 {
					close(reading)
				}
				if _, err = r.Read(make([]byte, 100)); err == io.EOF { //nolint:errorlint // a reader announces its end by itself
					r, _, err = file.Open()
				}
			}
			ended <- err
		}()
		<-reading
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("the reader got %v", err)
		}
	}
}
