package body

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrFolder says that the folder for large bodies takes nothing more.
var ErrFolder = errors.New("the folder for large bodies cannot be written to")

// CheckFolder says whether bodies can be kept in a folder. It leaves nothing there.
func CheckFolder(dir string) error {
	f, err := Spool(dir, []byte("x"), bytes.NewReader(nil), 1)
	if err != nil {
		return err
	}
	return f.Close()
}

// A File is a body in a file without a name, which is gone with the process. A
// request that waits for a slow model then holds no memory for it.
type File struct {
	file  *os.File
	size  int64
	bytes []byte // mapped; nil: not asked for
}

// Spool writes a body into a file in the folder: what was read of it already, and
// the rest up to so many bytes in all; more is left unread, and the size says so. An
// error of reading is returned as it is, one of the folder wraps ErrFolder.
func Spool(dir string, read []byte, rest io.Reader, most int64) (*File, error) {
	file, err := os.CreateTemp(dir, "body-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	f := &File{file: file}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrFolder, err), f.Close())
	}
	if err := f.fill(read, rest, most); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *File) fill(read []byte, rest io.Reader, most int64) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := f.file.Write(read)
		f.size += int64(n)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFolder, err)
		}
		if f.size >= most {
			return nil
		}
		n, err = rest.Read(buf[:min(int64(len(buf)), most-f.size)])
		read = buf[:n]
		if err == io.EOF { //nolint:errorlint // a reader announces its end by itself
			n, err = f.file.Write(read)
			f.size += int64(n)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrFolder, err)
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Size is the body's length in bytes.
func (f *File) Size() int64 { return f.size }

// Bytes returns the body to be looked at, until Close: mapped where the system can,
// so that the kernel may take the memory back, else read.
func (f *File) Bytes() ([]byte, error) {
	if f.bytes != nil || f.size == 0 {
		return f.bytes, nil
	}
	var err error
	if f.bytes, err = mapped(f.file, int(f.size)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFolder, err)
	}
	return f.bytes, nil
}

// Open implements Source.
func (f *File) Open(edits ...Edit) (io.ReadCloser, int64, error) {
	return io.NopCloser(splice(f.file, f.size, edits)), edited(f.size, edits), nil
}

// Repeatable implements Source.
func (f *File) Repeatable() bool { return true }

// Spent implements Source.
func (f *File) Spent() bool { return false }

// Close implements Source. It waits for nobody: an attempt that still reads gets an
// error.
func (f *File) Close() error {
	var err error
	if f.bytes != nil {
		err = unmap(f.bytes)
		f.bytes = nil
	}
	return errors.Join(err, f.file.Close())
}
