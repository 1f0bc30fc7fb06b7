package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/controlplane/signing"
	"github.com/stampgate/stampgate/geo"
)

const (
	maxAuthorBytes  = 200
	maxMessageBytes = 2000
)

// An Envelope is one publication of a policy. Fields that are not known are
// ignored, since nothing vouches for them; a new one that matters is signed, and
// so comes with a new format.
type Envelope struct {
	Format   int          `json:"format"` // see signing.PolicyFormat
	Serial   uint64       `json:"serial"`
	Boundary geo.Boundary `json:"boundary"`
	Digest   string       `json:"digest"`   // SHA-256 of the document, hex
	Document []byte       `json:"document"` // as it was written, zstd
	Author   string       `json:"author,omitempty"`
	Message  string       `json:"message,omitempty"`
	Time     time.Time    `json:"time"`
	// Publication tells this publication from any other, also from one of the
	// same document; it is how a lost answer is made good.
	Publication string `json:"publication,omitempty"`
	// Publisher is the version of the program that published: a gateway that does
	// not understand the document says that it has to be upgraded to this one.
	Publisher string `json:"publisher,omitempty"`
	Signature []byte `json:"signature"` // over all of the above, the document by its digest
	// Note is what the one who publishes should know, "" if nothing; not stored.
	Note string `json:"-"`
}

// NewEnvelope compresses a document and takes its digest. The result
// is not signed.
func NewEnvelope(boundary geo.Boundary, serial uint64, document []byte) (Envelope, error) {
	if len(document) > policy.MaxRawBytes {
		return Envelope{}, &InvalidError{Text: fmt.Sprintf("the document has %d bytes, at most %d are allowed", len(document), policy.MaxRawBytes)}
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Envelope{}, fmt.Errorf("compress document: %w", err)
	}
	packed := enc.EncodeAll(document, nil)
	if len(packed) > policy.MaxCompressedBytes {
		return Envelope{}, &InvalidError{Text: fmt.Sprintf("the document has %d bytes compressed, at most %d are allowed", len(packed), policy.MaxCompressedBytes)}
	}
	return Envelope{Serial: serial, Boundary: boundary, Digest: signing.Digest(document), Document: packed}, nil
}

// Sign sets format and signature.
func (e *Envelope) Sign(key signing.PrivateKey) {
	e.Format = signing.PolicyFormat
	e.Signature = signing.SignPolicy(key, e.claim())
}

// Verify checks that a trusted key signed the envelope, in a format that this
// program knows. It says nothing of the document: use OpenVerified before
// following it.
func (e Envelope) Verify(v *signing.Verifier) error { return v.VerifyPolicy(e.claim(), e.Signature) }

func (e Envelope) claim() signing.PolicyClaim {
	return signing.PolicyClaim{
		Format: e.Format, Boundary: e.Boundary, Serial: e.Serial, Digest: e.Digest, Author: e.Author, Message: e.Message,
		Time: e.Time, Publication: e.Publication, Publisher: e.Publisher,
	}
}

// Open returns the document, if it has no more than maxBytes and is
// the one of the digest.
func (e Envelope) Open(maxBytes int) ([]byte, error) {
	if len(e.Document) > policy.MaxCompressedBytes {
		return nil, fmt.Errorf("open policy %d: %d bytes compressed, at most %d are allowed", e.Serial, len(e.Document), policy.MaxCompressedBytes)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(maxBytes, 1))))
	if err != nil {
		return nil, fmt.Errorf("open policy %d: %w", e.Serial, err)
	}
	defer dec.Close()
	document, err := dec.DecodeAll(e.Document, nil)
	if err != nil {
		return nil, fmt.Errorf("open policy %d: decompress: %w", e.Serial, err)
	}
	if len(document) > maxBytes {
		return nil, fmt.Errorf("open policy %d: more than %d bytes", e.Serial, maxBytes)
	}
	if got := signing.Digest(document); got != e.Digest {
		return nil, fmt.Errorf("open policy %d: the document's digest is %s, the envelope says %s", e.Serial, got, clip(e.Digest, 64))
	}
	return document, nil
}

// OpenVerified is what a follower calls: the document, if the envelope is of
// this boundary, signed by a trusted key, and whole.
func (e Envelope) OpenVerified(boundary geo.Boundary, v *signing.Verifier) ([]byte, error) {
	if e.Boundary != boundary {
		return nil, fmt.Errorf("policy %d is of boundary %q, not of %q", e.Serial, clip(string(e.Boundary), 40), boundary)
	}
	if err := e.Verify(v); err != nil {
		return nil, err
	}
	return e.Open(policy.MaxRawBytes)
}

// encode writes the stored form.
func (e Envelope) encode() (string, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("encode policy %d: %w", e.Serial, err)
	}
	return string(b), nil
}

// decodeEnvelope reads the stored form. It checks format and shape alone: whom
// to trust is the receiver's question.
func decodeEnvelope(key string, value []byte) (Envelope, error) {
	var e Envelope
	if err := json.Unmarshal(value, &e); err != nil {
		return Envelope{}, &MalformedError{Key: key, Err: errors.New("not an envelope in JSON")}
	}
	if e.Format == 0 {
		return e, &MalformedError{Key: key, Err: errors.New("it says no format")} // damaged: no version wrote this
	}
	if err := e.claim().CheckFormat(); err != nil {
		return e, err
	}
	if e.Serial == 0 || e.Boundary == "" || e.Digest == "" {
		return e, &MalformedError{Key: key, Err: errors.New("serial, boundary or digest is missing")}
	}
	return e, nil
}
