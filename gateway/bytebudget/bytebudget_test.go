package bytebudget_test

import (
	"bytes"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/stampgate/stampgate/gateway/bytebudget"
)

// Nobody is let beyond any bound, whatever order takes and gives come in, and
// when all have ended nothing is held.
func TestNoBoundIsEverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const whole, perClient, perConnection = 1000, 600, 300
		b := bytebudget.New(whole, perClient)
		connections := []*bytebudget.Account{nil, bytebudget.NewAccount(perConnection), bytebudget.NewAccount(perConnection)}
		type held struct {
			*bytebudget.Hold
			body, answer int64
			client       string
			connection   int
		}
		var open []*held
		check := func() {
			sum, clients := int64(0), map[string]int64{}
			answers := make([]int64, len(connections))
			for _, h := range open {
				sum += h.body + h.answer
				clients[h.client] += h.body + h.answer
				answers[h.connection] += h.answer
			}
			if sum != b.Held() || sum > whole {
				t.Fatalf("%d bytes held, the budget says %d", sum, b.Held())
			}
			for name, n := range clients {
				if n > perClient {
					t.Fatalf("client %s holds %d", name, n)
				}
			}
			for i, n := range answers[1:] {
				if n > perConnection || n != connections[i+1].Held() {
					t.Fatalf("connection %d holds %d, its account says %d", i+1, n, connections[i+1].Held())
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { check() },
			"open": func(t *rapid.T) {
				client, c := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "client"), rapid.IntRange(0, 2).Draw(t, "connection")
				open = append(open, &held{Hold: b.Open(client, connections[c]), client: client, connection: c})
			},
			"take": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				h, n := rapid.SampledFrom(open).Draw(t, "hold"), rapid.Int64Range(0, 400).Draw(t, "n")
				if rapid.Bool().Draw(t, "body") {
					if h.TakeBody(n) {
						h.body += n
					}
				} else if h.TakeAnswer(n) {
					h.answer += n
				}
			},
			"give": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				h := rapid.SampledFrom(open).Draw(t, "hold")
				h.GiveAnswer()
				h.answer = 0
				h.GiveBody(h.body / 2)
				h.body -= h.body / 2
			},
			"release": func(t *rapid.T) {
				if len(open) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				open[i].Release()
				open = append(open[:i], open[i+1:]...)
			},
		})
		for _, h := range open {
			h.Release()
		}
		if b.Held() != 0 {
			t.Fatalf("%d bytes held by nobody", b.Held())
		}
	})
}

func TestRefusalNamesItsBound(t *testing.T) {
	for _, tt := range []struct {
		name               string
		whole, client, con int64
		want               bytebudget.Cause
	}{
		{"the process", 10, 100, 100, bytebudget.OfProcess},
		{"the client", 100, 10, 100, bytebudget.OfClient},
		{"the connection", 100, 100, 10, bytebudget.OfConnection},
		{"nothing", 100, 100, 100, bytebudget.None},
	} {
		h := bytebudget.New(tt.whole, tt.client).Open("x", bytebudget.NewAccount(tt.con))
		h.TakeAnswer(11)
		if got := h.Refused(); got != tt.want {
			t.Errorf("%s: refused by %q, want %q", tt.name, got, tt.want)
		}
		h.Release()
	}
}

// A client that has nothing in flight has no place in the budget: clients come
// and go with policies.
func TestConcurrentHoldsEndWithNothingHeld(t *testing.T) {
	b, c := bytebudget.New(1<<20, 1<<19), bytebudget.NewAccount(1<<18)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				h := b.Open("x", c)
				h.TakeBody(1 << 17)
				h.TakeAnswer(1 << 16)
				h.Release()
			}
		})
	}
	wg.Wait()
	if b.Held() != 0 || c.Held() != 0 {
		t.Errorf("%d and %d bytes are held by nobody", b.Held(), c.Held())
	}
}

// A buffer takes what has arrived, at most twice, and never for what was only
// announced.
func TestBufferGrowsWithWhatArrives(t *testing.T) {
	for _, tt := range []struct {
		name            string
		arrives, most   int
		atMost, atLeast int64
	}{
		{"nothing of much", 0, 32 << 20, 0, 0},
		{"a little of much", 100, 32 << 20, 4 << 10, 100},
		{"all that was announced", 1 << 20, 1 << 20, 1<<20 + 1, 1 << 20},
		{"not announced", 1 << 20, 0, 2 << 20, 1 << 20},
	} {
		taken := int64(0)
		b := bytebudget.NewBuffer(func(n int64) bool { taken += n; return true }, tt.most)
		want := bytes.Repeat([]byte("stampgate"), tt.arrives/9+1)[:tt.arrives]
		for rest := want; len(rest) > 0; { // as reads bring it
			n := min(len(rest), 1000)
			if !b.Write(rest[:n]) {
				t.Fatal("no room")
			}
			rest = rest[n:]
		}
		if !bytes.Equal(b.Bytes(), want) {
			t.Errorf("%s: the bytes are not there", tt.name)
		}
		if taken > tt.atMost || taken < tt.atLeast {
			t.Errorf("%s: %d bytes taken", tt.name, taken)
		}
	}
	b := bytebudget.NewBuffer(func(int64) bool { return false }, 0)
	if b.Room() != nil || b.Write([]byte("x")) {
		t.Error("there is room where the budget has none")
	}
}

func BenchmarkHold(b *testing.B) {
	budget, c := bytebudget.New(1<<30, 1<<29), bytebudget.NewAccount(1<<20)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h := budget.Open("payroll", c)
			h.TakeBody(4096)
			h.TakeAnswer(4096)
			h.Release()
		}
	})
}

// A buffer that was told how much comes never takes twice that.
func TestABufferOfKnownLengthTakesNoMore(t *testing.T) {
	const most = 32 << 10 // a power of two, as its doubling reaches exactly
	var taken int64
	b := bytebudget.NewBuffer(func(n int64) bool { taken += n; return true }, most)
	for left := most; left > 0; {
		n := min(left, len(b.Room()))
		b.Add(n)
		left -= n
	}
	if b.Room() == nil || taken > most+1 {
		t.Errorf("%d bytes were taken for %d", taken, most)
	}
}
