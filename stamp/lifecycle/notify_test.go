package lifecycle_test

import (
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stampgate/stampgate/stamp/lifecycle"
)

func TestTheServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skipf("no unix datagram sockets here: %v", err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for want, notify := range map[string]func() error{
		"READY=1":    lifecycle.NotifyReady,
		"STOPPING=1": lifecycle.NotifyStopping,
	} {
		if err := notify(); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("got %q, %v; want %q", buf[:n], err, want)
		}
	}
}

func TestWithoutAServiceManagerNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := lifecycle.NotifyReady(); err != nil {
		t.Error(err)
	}
	if err := lifecycle.NotifyStopping(); err != nil {
		t.Error(err)
	}
}

func TestAServiceManagerThatIsGoneIsAnError(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	if err := lifecycle.NotifyReady(); err == nil {
		t.Error("no error")
	}
}
