// Command stampctl is the operator's command: it validates and publishes
// policies, shows what every gateway has in force, explains where a request
// would go, drains and undrains, makes keys, and runs the development stack.
//
// It speaks to the control plane alone (and to a gateway's admin listener where
// explain is told to), holds no state, and decides nothing that the control
// plane would not check again. One file is one noun of its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal asks for an orderly end, a second one ends at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}
