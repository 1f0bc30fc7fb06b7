package policy

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/stampgate/stampgate/stamp/strictyaml"
)

// The bounds of a document's source. They hold before it is parsed, so that a
// hostile one costs no more than reading it.
const (
	// MaxCompressedBytes is how much of a document may be stored: an etcd value
	// of 1.5 MiB must hold it with its envelope.
	MaxCompressedBytes = 1 << 20
	// MaxRawBytes bounds what a small compressed document may unfold to.
	MaxRawBytes = 8 << 20
	// maxMarks bounds the parsed tree: 8 MiB of "[[[[" would be gigabytes of
	// nodes. 2,000 clients and 500 backends have some 60,000 marks.
	maxMarks = 1 << 20
)

// Format is the format of the documents that this program writes and knows.
const Format = 1

func rules() strictyaml.Rules {
	return strictyaml.Rules{
		What: "a policy", Needs: "boundary, residency, stamps, backends and routes",
		Secrets: "a policy never holds one; name where it is kept with credential: {apiKeyFile: …} or {apiKeyEnv: …}, a client's key by its sha256",
	}
}

// Decode reads a document. It is strict: unknown and repeated fields, values of
// another type, anchors, tags, further documents and literal secrets are all
// refused, and the *Error names every one with its line. So is a document in a
// format that this program does not know. What it returns need not be valid: see
// Validate.
func Decode(source []byte) (*Document, error) {
	if err := checkSize(source); err != nil {
		return nil, err
	}
	doc := &Document{}
	err := strictyaml.Decode(source, doc, rules())
	if doc.Format != 0 && doc.Format != Format {
		// What else is wrong may be what the newer format has.
		return nil, refuse("format", "%d is not known to this program, which knows format %d: upgrade it first, or publish a document in format %d", doc.Format, Format, Format)
	}
	if err != nil {
		return nil, err
	}
	return doc, nil
}

func refuse(path, format string, args ...any) error {
	return &Error{Faults: []Fault{{Path: path, Text: fmt.Sprintf(format, args...)}}}
}

func checkSize(source []byte) error {
	switch {
	case len(source) > MaxRawBytes:
		return refuse("", "the document has %d bytes, more than %d: split the boundary", len(source), MaxRawBytes)
	case countMarks(source) > maxMarks:
		return refuse("", "the document has more than %d entries: split the boundary", maxMarks)
	}
	if len(source) <= MaxCompressedBytes { // then its compressed form is no larger
		return nil
	}
	size, err := compressedSize(source)
	if err != nil {
		return fmt.Errorf("compress the document to learn its size: %w", err)
	}
	if size > MaxCompressedBytes {
		return refuse("", "the document has %d bytes after compression, more than %d: split the boundary", size, MaxCompressedBytes)
	}
	return nil
}

func compressedSize(source []byte) (int, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return 0, err
	}
	return len(enc.EncodeAll(source, nil)), enc.Close()
}

// countMarks counts the characters that can begin an entry of the tree.
func countMarks(source []byte) int {
	n := 0
	for _, c := range source {
		switch c {
		case ',', ':', '\n', '[', '{', '-', '?':
			n++
		}
	}
	return n
}
