package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"github.com/stampgate/stampgate/stamp/secret"
)

const hunter = "hunter2"

func TestASecretNeverPrintsItself(t *testing.T) {
	s := secret.New(hunter)
	type exported struct{ Key secret.Secret }
	type hidden struct{ key secret.Secret }
	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "%o", "%e", "%08b", "%p", "%T"} {
		for _, v := range []any{
			s, &s,
			exported{s},
			&exported{s},
			hidden{s},
			&hidden{s},
			[]secret.Secret{s},
			map[string]secret.Secret{"k": s},
			map[secret.Secret]int{s: 1},
			any(s),
		} {
			out = append(out, fmt.Sprintf(verb, v))
		}
	}
	out = append(out, fmt.Sprint(s), fmt.Sprintln(s), fmt.Errorf("key %v", s).Error())
	for _, v := range []any{s, &s, exported{s}, map[secret.Secret]int{s: 1}} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(j))
	}
	y, err := yaml.Marshal(exported{s})
	if err != nil {
		t.Fatal(err)
	}
	out = append(out, string(y))
	var log bytes.Buffer
	z := zerolog.New(&log)
	z.Info().Interface("a", s).Stringer("b", s).Any("c", exported{s}).Str("d", s.String()).
		Err(fmt.Errorf("with %v", s)).Msgf("%v %+v", s, hidden{s})
	out = append(out, log.String())

	hex := fmt.Sprintf("%x", hunter)
	for _, o := range out {
		if strings.Contains(o, hunter) || strings.Contains(strings.ToLower(o), hex) {
			t.Errorf("printed %q", o)
		}
	}
}

func TestASecretIsNotEncodedInBinary(t *testing.T) {
	var buf bytes.Buffer
	err := gob.NewEncoder(io.MultiWriter(&buf)).Encode(secret.New(hunter))
	if err == nil || strings.Contains(buf.String(), hunter) {
		t.Errorf("gob: %v, %q", err, buf.String())
	}
}

func TestADocumentMayNotHoldASecret(t *testing.T) {
	var doc struct {
		Key secret.Secret `yaml:"key" json:"key"`
	}
	for name, err := range map[string]error{
		"yaml":        yaml.Unmarshal([]byte("key: hunter2\n"), &doc),
		"yaml block":  yaml.Unmarshal([]byte("key:\n  value: hunter2\n"), &doc),
		"json":        json.Unmarshal([]byte(`{"key":"hunter2"}`), &doc),
		"json object": json.Unmarshal([]byte(`{"key":{"value":"hunter2"}}`), &doc),
	} {
		if !errors.Is(err, secret.ErrInDocument) || strings.Contains(err.Error(), hunter) {
			t.Errorf("%s: %v, want ErrInDocument", name, err)
		}
	}
	if !doc.Key.IsZero() {
		t.Error("it was read all the same")
	}
}

func TestRevealIsTheWayToTheValue(t *testing.T) {
	s := secret.New(hunter)
	if s.Reveal() != hunter || s.IsZero() || !s.Equal(hunter) || s.Equal("hunter3") || s.Equal("") {
		t.Error("the value is not what it was made from")
	}
	var zero secret.Secret
	if zero.Reveal() != "" || !zero.IsZero() || !secret.New("").IsZero() {
		t.Error("the zero value holds something")
	}
}
