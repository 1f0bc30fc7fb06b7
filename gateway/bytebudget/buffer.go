package bytebudget

// A Buffer holds bytes as they arrive and takes them from a hold before it
// allocates: what is only announced costs nothing.
type Buffer struct {
	take  func(n int64) bool // of the hold: TakeBody or TakeAnswer
	bytes []byte
	most  int // bytes that can come; 0: not known
}

// firstRoom is what a buffer begins with, in bytes: most requests fit.
const firstRoom = 4 << 10

// NewBuffer returns an empty buffer which takes its room by take. most is how many
// bytes were announced, 0 if that is not known: it never grows much beyond them.
func NewBuffer(take func(n int64) bool, most int) *Buffer {
	return &Buffer{take: take, most: most}
}

// Room returns space of at least one byte to read into, and nil if the budget has
// none. What was read is kept by Add.
func (b *Buffer) Room() []byte { return b.room(1) }

// room returns space of at least need bytes, or nil.
func (b *Buffer) room(need int) []byte {
	if cap(b.bytes)-len(b.bytes) >= need {
		return b.bytes[len(b.bytes):cap(b.bytes)]
	}
	size := max(2*cap(b.bytes), firstRoom)
	if b.most >= cap(b.bytes) {
		size = min(size, b.most+1) // the last byte of room is for seeing the end
	}
	size = max(size, len(b.bytes)+need)
	if !b.take(int64(size - cap(b.bytes))) {
		return nil
	}
	grown := make([]byte, len(b.bytes), size)
	copy(grown, b.bytes)
	b.bytes = grown
	return b.bytes[len(b.bytes):size]
}

// Add keeps the first n bytes of the room.
func (b *Buffer) Add(n int) { b.bytes = b.bytes[:len(b.bytes)+n] }

// Write keeps a copy of p, and reports whether the budget had room for it.
func (b *Buffer) Write(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	room := b.room(len(p))
	if room == nil {
		return false
	}
	b.Add(copy(room, p))
	return true
}

// Bytes returns what was kept. It is the buffer's own until the next change.
func (b *Buffer) Bytes() []byte { return b.bytes }

// Reset forgets what was kept, and keeps the space.
func (b *Buffer) Reset() { b.bytes = b.bytes[:0] }
