package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/stampgate/stampgate/stamp/secret"
)

// maxKey is far above any API key; a larger file is not one.
const maxKey = 4 << 10

// A keyFetcher reads an API key from a file, again and again, or from a
// variable of the environment.
type keyFetcher struct {
	id   identity
	poll time.Duration
}

func newKeyFetcher(id identity, cfg *Config) *keyFetcher {
	return &keyFetcher{id: id, poll: cfg.KeyFilePoll}
}

func (k *keyFetcher) fetch(context.Context, bool) (fetched, error) {
	var f fetched
	var text string
	var err error
	if k.id.kind == apiKeyEnv {
		text = os.Getenv(k.id.name)
	} else {
		f.renewAt = time.Now().Add(k.poll)
		text, err = readKey(k.id.name)
	}
	if err == nil {
		text, err = checkKey(text)
	}
	if err != nil {
		return f, fmt.Errorf("read API key: %w", err)
	}
	f.grant = grant{header: "Api-Key", value: secret.New(text)}
	if k.id.bearer {
		f.grant = grant{header: "Authorization", value: secret.New("Bearer " + text)}
	}
	return f, nil
}

func readKey(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxKey+1))
	return string(b), err
}

// checkKey takes the space around a key away. It refuses what cannot be a key,
// so that a file caught half written is not taken for one.
func checkKey(text string) (string, error) {
	if len(text) > maxKey {
		return "", fmt.Errorf("it is larger than %d bytes", maxKey)
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return "", errors.New("it is empty or missing")
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return "", errors.New("it holds a space, a control character or a character outside ASCII")
		}
	}
	return text, nil
}
