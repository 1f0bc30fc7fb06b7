package lifecycle

import (
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
)

// NotifyReady tells the service manager that the process serves (READY=1). It
// does nothing where NOTIFY_SOCKET is not set.
func NotifyReady() error { return notify(daemon.SdNotifyReady) }

// NotifyStopping tells the service manager that the process is on its way down
// (STOPPING=1). It does nothing where NOTIFY_SOCKET is not set.
func NotifyStopping() error { return notify(daemon.SdNotifyStopping) }

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("tell the service manager %s: %w", state, err)
	}
	return nil
}
