package wire

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// read collects the fields of a message.
func read(b []byte) (all []Field, err error) {
	for f, ferr := range Fields(b) {
		if ferr != nil {
			return all, ferr
		}
		all = append(all, f)
	}
	return all, nil
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	b := AppendUint(nil, 1, 300)
	b = AppendBytes(b, 2, "text")
	b = AppendUint(b, 3, 0)
	b = AppendBytes(b, 4, []byte(nil))
	b = AppendUints(b, 5, []uint64{1, 200, 0})
	got, err := read(b)
	if err != nil || len(got) != 3 || got[0].Uint != 300 || string(got[1].Bytes) != "text" || got[2].ID != 5 {
		t.Fatalf("%+v, %v", got, err)
	}
	if list, err := Uints(got[2].Bytes, 3); err != nil || !slices.Equal(list, []uint64{1, 200, 0}) {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := Uints(got[2].Bytes, 2); !errors.Is(err, ErrMalformed) {
		t.Errorf("more numbers than allowed: %v", err)
	}
}

// What a newer writer may add, of whatever type, hides nothing that comes after.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	b := protowire.AppendFixed64(protowire.AppendTag(nil, 90, protowire.Fixed64Type), 7)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 91, protowire.Fixed32Type), 7)
	b = AppendBytes(b, 1<<20, "of a later version")
	b = AppendUint(b, 1, 5)
	got, err := read(b)
	if err != nil || len(got) != 2 || got[1].Uint != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzFields(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x08})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0x0b, 0x0c})
	f.Add(AppendBytes(AppendUint(nil, 1, 1<<63), 2, "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		total := 0
		for f, err := range Fields(b) {
			if err != nil {
				break
			}
			total += len(f.Bytes)
		}
		if total > len(b) || !bytes.Equal(b, before) {
			t.Fatal("more bytes than there were, or others")
		}
	})
}
