package membership_test

import (
	"os"
	"runtime"
	"testing"
)

// One processor runs these tests. With several, the race detector of Go 1.26
// crashes now and then (SIGSEGV in __tsan) while timers of one synctest bubble
// fire: golang.org/issue/78156. Clusters in virtual time gain nothing by more.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}
