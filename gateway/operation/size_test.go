package operation_test

import (
	"testing"

	"github.com/stampgate/stampgate/gateway/operation"
)

func TestTokensAreWhatALimitCounts(t *testing.T) {
	for body, want := range map[string]int{
		`{"messages":[]}`:                                  15 / 4,
		`{"max_tokens":100}`:                               18/4 + 100,
		`{"max_completion_tokens":100,"n":3}`:              35/4 + 300,
		`{"max_tokens":10,"n":2,"best_of":5}`:              35/4 + 50,
		`{"max_output_tokens":100}`:                        25/4 + 100,
		`{"max_tokens":null,"n":9}`:                        25 / 4,
		`{"max_tokens":2147483647,"n":128}`:                33/4 + 2147483647*128,
		`{"max_tokens":5,"max_completion_tokens":7,"n":0}`: 48/4 + 7,
	} {
		b, err := operation.ScanBody([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := operation.Tokens(&b, len(body)); got != want {
			t.Errorf("%s: %d tokens, want %d", body, got, want)
		}
	}
}

func TestStreamsAreRecognisedByStreamAndByFormat(t *testing.T) {
	const version = "api-version=2024-10-21"
	for _, tt := range []struct {
		path, body string
		want       bool
	}{
		{"chat/completions", `{"stream":true}`, true},
		{"chat/completions", `{"stream":false}`, false},
		{"chat/completions", `{"stream_format":"sse"}`, false},
		{"audio/speech", `{"stream_format":"sse"}`, true},
		{"audio/speech", `{"stream_format":"audio"}`, false},
		{"audio/speech", `{"stream_format":7}`, false},
		{"images/generations", `{"stream":true}`, true},
		{"embeddings", `{"stream":true}`, false},
	} {
		m, err := operation.Recognise("POST", "/openai/deployments/d/"+tt.path, version)
		if err != nil {
			t.Fatal(err)
		}
		b, err := operation.ScanBody([]byte(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		if got := operation.Streams(m.Operation, &b); got != tt.want {
			t.Errorf("%s %s: %t", tt.path, tt.body, got)
		}
	}
}

func TestChoicesThatAnAnswerWillHave(t *testing.T) {
	for body, want := range map[string]int{
		`{}`: 1, `{"n":3}`: 3, `{"n":0}`: 1, `{"prompt":"x","n":2}`: 2, `{"prompt":["x","y"]}`: 0,
	} {
		b, err := operation.ScanBody([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Choices(); got != want {
			t.Errorf("%s: %d, want %d", body, got, want)
		}
	}
}
