package body

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// A ReadError says that a body could not be read again where it is kept: a lack of
// this machine, whatever the backend does of it.
type ReadError struct{ Err error }

// Error implements error.
func (e *ReadError) Error() string { return "read the request's body: " + e.Err.Error() }

// Unwrap returns what the system said.
func (e *ReadError) Unwrap() error { return e.Err }

// CheckFolder says whether a folder is one in which this process may write. That it
// is full is no fault of the configuration. It leaves nothing there.
func CheckFolder(dir string) error {
	file, err := os.CreateTemp(dir, "body-")
	if err == nil {
		return errors.Join(file.Close(), os.Remove(file.Name()))
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if info, serr := os.Stat(dir); serr == nil && !info.IsDir() {
		return err
	}
	return nil
}

// A file is a body in a file without a name, which is gone with the process.
type file struct {
	file *os.File
	size int64
}

// Keep writes a body into a file in the folder, so that a request that waits for a
// slow model holds no memory for it.
func Keep(dir string, p []byte) (Source, error) {
	f, err := os.CreateTemp(dir, "body-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Write(p); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &file{file: f, size: int64(len(p))}, nil
}

func (f *file) Repeatable() bool { return true }
func (f *file) Spent() bool      { return false }

// Close waits for nobody: an attempt that still reads gets an error.
func (f *file) Close() error { return f.file.Close() }

func (f *file) Open(edits ...Edit) (io.ReadCloser, int64, error) {
	return reading{splice(f.file, f.size, edits)}, edited(f.size, edits), nil
}

// reading names what goes wrong.
type reading struct{ io.Reader }

func (r reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = &ReadError{err}
	}
	return n, err
}

func (reading) Close() error { return nil }
