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
		file, err := body.Keep(dir, original)
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

// Whatever ends the process, nothing of a body is left behind: its file has no name.
func TestAFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	file, err := body.Keep(dir, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if list := files(t, dir); len(list) != 0 {
		t.Errorf("the folder has %v", list)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
	if err := body.CheckFolder(dir); err != nil || len(files(t, dir)) != 0 {
		t.Errorf("a look at the folder: %v, and leaves %v", err, files(t, dir))
	}
}

// A folder that is not there, or is none, is a fault that is told before anything is
// kept in it.
func TestAFolderThatIsNone(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), plain} {
		if _, err := body.Keep(dir, []byte("x")); err == nil {
			t.Errorf("%s took a body", dir)
		}
		if err := body.CheckFolder(dir); err == nil {
			t.Errorf("%s passes as a folder", dir)
		}
	}
}

// Who waits for the client's bytes is waited for when the source is closed, and reads
// no more: the connection belongs to the next request then.
func TestNobodyReadsWhatPassesThroughOnceItIsClosed(t *testing.T) {
	client, backend := io.Pipe()
	source := body.Through(client, -1)
	r, _, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := r.Read(make([]byte, 1))
		read <- err
	}()
	if _, err := backend.Write([]byte("x")); err != nil || <-read != nil {
		t.Fatal(err)
	}
	if err := source.Close(); err != nil || !source.Spent() {
		t.Errorf("%v", err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("it reads on: %v", err)
	}
}

// An attempt that still sends a body when its request has ended gets an error, and
// never the end of a body that looks whole.
func TestAReaderOutlivesItsFile(t *testing.T) {
	file, err := body.Keep(t.TempDir(), make([]byte, 1<<20))
	if err != nil {
		t.Fatal(err)
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
	err = <-ended
	if _, ours := errors.AsType[*body.ReadError](err); !ours || !errors.Is(err, os.ErrClosed) {
		t.Errorf("the reader got %v", err)
	}
}
