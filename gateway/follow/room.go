package follow

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// The disk may be full when a policy comes that takes a right away. So room for it
// is kept, and the highest serial that was followed is noted in a file that was made
// before and needs no more room: a start that finds an older policy knows that it is one.
const (
	reserveFile = "reserve"
	seenFile    = "highest-serial"
	// reserveSize holds the largest policy and a copy of the orders, in bytes.
	reserveSize = cacheLimit / 2
	// seenSlot is the size of each of two records, in bytes, which are written in
	// turn: a torn one leaves the other.
	seenSlot = 64
	// seenFormat begins a record, whose form is as fixed as that of the other files.
	seenFormat = "v1"
)

// A disk is where the cache lies: the system's, or a test's that fails.
type disk struct {
	replace func(path string, text []byte) error // in one step
	inPlace func(path string, at int64, text []byte) error
}

func systemDisk() disk {
	return disk{
		replace: func(path string, text []byte) error { return renameio.WriteFile(path, text, 0o600) },
		inPlace: func(path string, at int64, text []byte) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(text, at)
			return errors.Join(err, f.Sync(), f.Close())
		},
	}
}

// replace writes a file of the cache. If the disk is full, it gives up the room
// that is kept for this.
func (f *Follower) replace(path string, text []byte) error {
	err := f.disk.replace(path, text)
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	reserve, _ := f.path(reserveFile)
	if os.Remove(reserve) != nil {
		return err
	}
	return f.disk.replace(path, text)
}

// reserve keeps room for the next policy.
func (f *Follower) reserve() error {
	path, use := f.path(reserveFile)
	if !use {
		return nil
	}
	if info, err := os.Stat(path); err == nil && info.Size() == reserveSize {
		return nil
	}
	if err := os.MkdirAll(f.cfg.CacheDir, 0o700); err != nil {
		return fmt.Errorf("no room is kept for the next policy: %w", err)
	}
	// Written out: a file with a hole keeps nothing.
	if err := f.disk.replace(path, make([]byte, reserveSize)); err != nil {
		return fmt.Errorf("no room is kept for the next policy: %w", err)
	}
	return nil
}

// readSeen returns the highest serial that was followed, 0 if that is not known.
func (f *Follower) readSeen() (uint64, error) {
	path, use := f.path(seenFile)
	if !use {
		return 0, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cache: %w", err)
	}
	highest, good := uint64(0), false
	for at := 0; at+seenSlot <= len(text) && at < 2*seenSlot; at += seenSlot {
		fields := strings.Fields(string(text[at : at+seenSlot]))
		if len(fields) != 3 || fields[0] != seenFormat || fields[2] != seenSum(fields[1]) {
			continue
		}
		if serial, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
			highest, good = max(highest, serial), true
		}
	}
	if !good {
		return 0, fmt.Errorf("cache: %s is damaged: which policy was followed last is not known", path)
	}
	return highest, nil
}

// writeSeen notes a serial that was followed.
func (f *Follower) writeSeen(serial uint64) error {
	path, use := f.path(seenFile)
	if !use {
		return nil
	}
	number := strconv.FormatUint(serial, 10)
	record := fmt.Appendf(nil, "%-*s\n", seenSlot-1, seenFormat+" "+number+" "+seenSum(number))
	info, err := os.Stat(path)
	if err != nil || info.Size() != 2*seenSlot {
		if err := os.MkdirAll(f.cfg.CacheDir, 0o700); err != nil {
			return err
		}
		return f.replace(path, append(record, record...))
	}
	return f.disk.inPlace(path, int64(serial%2)*seenSlot, record)
}

func seenSum(number string) string {
	sum := sha256.Sum256([]byte("highest serial " + number))
	return hex.EncodeToString(sum[:12])
}
