// Package wire reads and writes the messages that gateways send each other, in
// the encoding of protocol buffers: numbered fields, of which a reader skips
// those that it does not know. That is what lets a format grow while old and new
// builds run in one stamp.
//
// It has no schema and no reflection: the owner of a message names its fields by
// number beside its type. Numbers are never used again for something else. It
// never panics and allocates nothing for what it reads. stamp/membership uses it
// for what members sign, and owners of channels for their payloads.
package wire

import (
	"errors"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is the fault of bytes that are no message.
var ErrMalformed = errors.New("is no message")

// A Field is one field of a message: a number, or bytes, which are a text or a
// message of their own. Bytes lie in the message that was read.
type Field struct {
	ID    int
	Uint  uint64
	Bytes []byte
}

// Fields yields the fields of a message in the order in which they stand there.
// Fields of types that we never write are skipped. Where it can read no further
// it yields ErrMalformed and ends.
func Fields(b []byte) iter.Seq2[Field, error] {
	return func(yield func(Field, error) bool) {
		for len(b) > 0 {
			number, kind, n := protowire.ConsumeTag(b)
			if n < 0 {
				yield(Field{}, ErrMalformed)
				return
			}
			b = b[n:]
			f := Field{ID: int(number)}
			switch kind {
			case protowire.VarintType:
				f.Uint, n = protowire.ConsumeVarint(b)
			case protowire.BytesType:
				f.Bytes, n = protowire.ConsumeBytes(b)
			default:
				n = protowire.ConsumeFieldValue(number, kind, b)
				f.ID = 0
			}
			if n < 0 {
				yield(Field{}, ErrMalformed)
				return
			}
			b = b[n:]
			if f.ID != 0 && !yield(f, nil) {
				return
			}
		}
	}
}

// Uints reads what AppendUints wrote, at most limit numbers.
func Uints(b []byte, limit int) ([]uint64, error) {
	var out []uint64
	for len(b) > 0 {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 || len(out) == limit {
			return nil, ErrMalformed
		}
		out = append(out, v)
		b = b[n:]
	}
	return out, nil
}

// AppendUint writes a number; zero is left out, as it is what a reader assumes.
func AppendUint(b []byte, id int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(id), protowire.VarintType), v)
}

// AppendBytes writes bytes, a text or a message; an empty one is left out.
func AppendBytes[T ~string | ~[]byte](b []byte, id int, v T) []byte {
	if len(v) == 0 {
		return b
	}
	b = protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(id), protowire.BytesType), uint64(len(v)))
	return append(b, v...)
}

// AppendUints writes numbers as one field; none are left out.
func AppendUints(b []byte, id int, vs []uint64) []byte {
	var packed []byte
	for _, v := range vs {
		packed = protowire.AppendVarint(packed, v)
	}
	return AppendBytes(b, id, packed)
}
