package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// maxDump bounds a goroutine dump, in bytes: some 100,000 goroutines.
const maxDump = 64 << 20

// DumpGoroutines writes the stack of every goroutine to w. Go prints arguments
// as machine words: of a string only its address and length, but of an array
// passed by value the content, which for a key or its hash is the secret. So
// the arguments are left out.
func DumpGoroutines(w io.Writer) error {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= maxDump {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	head := fmt.Sprintf("goroutine dump %s\n\n", time.Now().UTC().Format(time.RFC3339Nano))
	if _, err := w.Write(append([]byte(head), append(stripArguments(buf), '\n')...)); err != nil {
		return fmt.Errorf("write the goroutine dump: %w", err)
	}
	return nil
}

// DumpOnQuit writes a dump for every SIGQUIT until ctx ends. The process goes
// on, unlike Go's own reaction, which prints arguments and exits.
func DumpOnQuit(ctx context.Context, w io.Writer) {
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT)
	defer signal.Stop(quit)
	dumpOn(ctx, quit, w)
}

func dumpOn(ctx context.Context, quit <-chan os.Signal, w io.Writer) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-quit:
			_ = DumpGoroutines(w) // nowhere to report it: w is where reports go
		}
	}
}

// stripArguments replaces the argument list at the end of each frame's line,
// and what follows "panic(" likewise.
func stripArguments(stack []byte) []byte {
	arguments := regexp.MustCompile(`\((?:0x|\{|\.\.\.|_)[^()\n]*\)$`)
	lines := bytes.Split(stack, []byte("\n"))
	for i, line := range lines {
		if !bytes.HasPrefix(line, []byte("\t")) {
			lines[i] = arguments.ReplaceAll(line, []byte("(...)"))
		}
	}
	return bytes.Join(lines, []byte("\n"))
}
