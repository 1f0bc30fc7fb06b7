package stampview

import (
	"os"
	"runtime"
	"testing"
)

// One processor runs these tests, for the reason that stamp/membership gives.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}
