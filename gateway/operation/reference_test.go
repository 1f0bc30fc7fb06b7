package operation

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stampgate/stampgate/controlplane/policy"
	"github.com/stampgate/stampgate/gateway/refusal"
)

func opNamed(t testing.TB, name string) *Operation {
	t.Helper()
	for i := range theIndex().rows {
		if op := &theIndex().rows[i]; op.Name == name && op.Method == "POST" {
			return op
		}
	}
	t.Fatalf("no operation %s", name)
	return nil
}

// inside allows what a boundary that refuses external references allows.
func inside(url string) bool { return !policy.External(url) }

// listed allows one host besides.
func listed(url string) bool {
	return inside(url) || strings.HasPrefix(url, "https://files.example/") || url == "https://files.example"
}

func refused(t testing.TB, op *Operation, body string, allows func(string) bool) string {
	t.Helper()
	scan, err := ScanBody([]byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	err = References(op, []byte(body), &scan, allows)
	e, ok := errors.AsType[*refusal.Error](err)
	if err == nil {
		return ""
	}
	if !ok || e.Reply().Status != 400 {
		t.Fatalf("%v", err)
	}
	return e.Reply().Code + " " + e.Param
}

// Where a reference can stand it is found and named; where none can, nobody looks.
func TestExternalReferencesAreFoundWhereTheyCanStand(t *testing.T) {
	const u = `"https://evil.example/x"`
	for _, tt := range []struct{ name, op, body, want string }{
		{"an image", "chat_completions", `{"messages":[{"role":"system","content":"x"},{"role":"user","content":"y"},{"role":"user","content":[{"type":"image_url","image_url":{"url":` + u + `}}]}]}`, "messages[2].content[0].image_url.url"},
		{"an image, written short", "chat_completions", `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":` + u + `}]}]}`, "messages[0].content[1].image_url"},
		{"a name with an escape", "chat_completions", `{"messages":[{"content":[{"image\u005furl":{"ur\u006c":` + u + `}}]}]}`, "messages[0].content[0].image_url.url"},
		{"a URL with escapes", "chat_completions", `{"messages":[{"content":[{"image_url":{"url":"\u0068ttps:\/\/evil.example"}}]}]}`, "messages[0].content[0].image_url.url"},
		{"a file", "chat_completions", `{"messages":[{"content":[{"type":"file","file":{"file_url":` + u + `}}]}]}`, "messages[0].content[0].file.file_url"},
		{"one part that is no list", "chat_completions", `{"messages":[{"content":{"image_url":` + u + `}}]}`, "messages[0].content.image_url"},
		{"a tool's answer", "chat_completions", `{"messages":[{"role":"tool","content":[{"image_url":{"url":` + u + `}}]}]}`, "messages[0].content[0].image_url.url"},
		{"a search of the web", "chat_completions", `{"messages":[],"web_search_options":{}}`, "web_search_options"},
		{"a data source", "chat_completions", `{"messages":[],"data_sources":[{"type":"azure_search","parameters":{"endpoint":` + u + `,"index_name":"i"}}]}`, "data_sources[0].parameters.endpoint"},
		{"a data source in its old name", "chat_completions", `{"messages":[],"dataSources":[{"type":"AzureCognitiveSearch","parameters":{"endpoint":` + u + `}}]}`, "dataSources[0].parameters.endpoint"},
		{"a data source that names no place", "chat_completions", `{"messages":[],"data_sources":[{"type":"azure_search","parameters":{"index_name":"i"}}]}`, "data_sources[0]"},
		{"a data source of a project", "chat_completions", `{"messages":[],"data_sources":[{"type":"azure_ml_index","parameters":{"project_resource_id":"/subscriptions/x"}}]}`, "data_sources[0].parameters.project_resource_id"},
		{"a connection string", "chat_completions", `{"messages":[],"data_sources":[{"parameters":{"authentication":{"connection_string":"AccountEndpoint=https://evil.example"}}}]}`, "data_sources[0].parameters.authentication.connection_string"},
		{"a tool server", "responses", `{"input":"x","tools":[{"type":"function","name":"f"},{"type":"mcp","server_label":"l","server_url":` + u + `}]}`, "tools[1].server_url"},
		{"a connector", "responses", `{"input":"x","tools":[{"type":"mcp","connector_id":"connector_x"}]}`, "tools[0].connector_id"},
		{"a tool server that is not named", "responses", `{"input":"x","tools":[{"type":"mcp","server_label":"l"}]}`, "tools[0].server_url"},
		{"a built-in search", "responses", `{"input":"x","tools":[{"type":"web_search_preview_2025_03_11"}]}`, "tools[0].type"},
		{"a built-in search of Bing", "responses", `{"input":"x","tools":[{"type":"bing_grounding"}]}`, "tools[0].type"},
		{"a tool that is not known", "chat_completions", `{"messages":[],"tools":[{"type":"browser_automation"}]}`, "tools[0].type"},
		{"a tool in a namespace", "responses", `{"tools":[{"type":"namespace","tools":[{"type":"web_search"}]}]}`, "tools[0].tools[0].type"},
		{"a mask of an image tool", "responses", `{"tools":[{"type":"image_generation","input_image_mask":{"image_url":` + u + `}}]}`, "tools[0].input_image_mask.image_url"},
		{"a container with a network", "responses", `{"tools":[{"type":"code_interpreter","container":{"type":"auto","network_policy":{"type":"allowlist"}}}]}`, "tools[0].container.network_policy"},
		{"an input image", "responses", `{"input":[{"role":"user","content":[{"type":"input_image","image_url":` + u + `}]}]}`, "input[0].content[0].image_url"},
		{"an input file", "responses", `{"input":[{"role":"user","content":[{"type":"input_file","file_url":` + u + `}]}]}`, "input[0].content[0].file_url"},
		{"a screenshot", "responses", `{"input":[{"type":"computer_call_output","output":{"type":"computer_screenshot","image_url":` + u + `}}]}`, "input[0].output.image_url"},
		{"a function's answer", "responses", `{"input":[{"type":"function_call_output","output":[{"type":"input_image","image_url":` + u + `}]}]}`, "input[0].output[0].image_url"},
		{"a variable of a prompt", "responses", `{"prompt":{"id":"p","variables":{"logo":{"type":"input_image","image_url":` + u + `}}}}`, "prompt.variables.logo.image_url"},

		{"a URL in a text", "chat_completions", `{"messages":[{"role":"user","content":"see image_url \"url\": https://evil.example"}]}`, ""},
		{"a URL in a text part", "chat_completions", `{"messages":[{"role":"user","content":[{"type":"text","text":"{\"image_url\":\"https://evil.example\"}"}]}]}`, ""},
		{"a URL in an argument", "chat_completions", `{"messages":[{"role":"assistant","tool_calls":[{"type":"function","function":{"name":"f","arguments":"{\"image_url\":\"https://evil.example\"}"},"x_url":` + u + `}]}]}`, ""},
		{"a URL in a schema", "chat_completions", `{"messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"server_url":{"default":` + u + `},"url":` + u + `}}}}]}`, ""},
		{"a URL in a schema of responses", "responses", `{"tools":[{"type":"function","name":"f","parameters":{"url":` + u + `,"server_url":` + u + `}}]}`, ""},
		{"a URL in a response format", "chat_completions", `{"messages":[],"response_format":{"json_schema":{"schema":{"image_url":` + u + `}}}}`, ""},
		{"a data: URL", "chat_completions", `{"messages":[{"content":[{"image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}]}`, ""},
		{"the id of a file", "chat_completions", `{"messages":[{"content":[{"type":"file","file":{"file_id":"file-abc"}},{"image_url":{"url":"assistant-abc123"}}]}]}`, ""},
		{"tools that stay", "responses", `{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]},{"type":"code_interpreter","container":{"type":"auto"}},{"type":"custom","format":{"url":` + u + `}}]}`, ""},
		{"an operation without such a place", "embeddings", `{"input":[{"image_url":` + u + `}],"tools":[{"type":"web_search"}]}`, ""},
		{"null", "chat_completions", `{"messages":null,"tools":null,"data_sources":null,"web_search_options":null}`, ""},
		{"empty", "chat_completions", `{"messages":[],"tools":[],"data_sources":[]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want != "" {
				want = "external_reference " + want
			}
			if got := refused(t, opNamed(t, tt.op), tt.body, inside); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// What two parsers could read differently where a reference may stand is refused.
func TestAReferenceHasOneReading(t *testing.T) {
	for _, body := range []string{
		`{"messages":[{"content":[{"image_url":{"url":"data:,"},"image_url":{"url":"https://evil.example"}}]}]}`,
		`{"messages":[{"content":[{"image_url":{"url":"data:,","\u0075rl":"https://evil.example"}}]}]}`,
		`{"messages":[{"content":"a","content":[{"image_url":{"url":"https://evil.example"}}]}]}`,
		`{"messages":[],"tools":[{"type":"function","type":"web_search"}]}`,
	} {
		if got := refused(t, opNamed(t, "chat_completions"), body, inside); got == "" {
			t.Errorf("accepted: %s", body)
		}
	}
}

func TestAListedHostMayBeNamed(t *testing.T) {
	for body, want := range map[string]string{
		`{"messages":[{"content":[{"image_url":{"url":"https://files.example/a"}}]}]}`:                                                                        "",
		`{"messages":[{"content":[{"image_url":{"url":"https://files.example.evil/a"}}]}]}`:                                                                   "messages[0].content[0].image_url.url",
		`{"tools":[{"type":"mcp","server_url":"https://files.example/mcp"}]}`:                                                                                 "",
		`{"tools":[{"type":"mcp","server_url":"file-abc"}]}`:                                                                                                  "tools[0].server_url",
		`{"tools":[{"type":"web_search"}]}`:                                                                                                                   "tools[0].type",
		`{"data_sources":[{"type":"azure_search","parameters":{"endpoint":"https://files.example","fields_mapping":{"url_field":"url"},"key":"k"}}]}`:         "",
		`{"data_sources":[{"parameters":{"endpoint":"https://files.example","embedding_dependency":{"type":"endpoint","endpoint":"https://evil.example"}}}]}`: "data_sources[0].parameters.embedding_dependency.endpoint",
		`{"data_sources":[{"parameters":{"endpoint":"files.example"}}]}`:                                                                                      "data_sources[0].parameters.endpoint",
		`{"data_sources":[{"parameters":{"endpoint":"https://files.example"}},{"parameters":{"index":"i"}}]}`:                                                 "data_sources[1]",
	} {
		got := refused(t, opNamed(t, "chat_completions"), body, listed)
		if strings.TrimPrefix(got, "external_reference ") != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

// A place that can be checked does not stand for another one that cannot.
func TestAListedHostVouchesForNoOtherPlace(t *testing.T) {
	const ok = `"https://files.example/x"`
	for body, want := range map[string]string{
		`{"data_sources":[{"type":"pinecone","parameters":{"environment":"e","embedding_dependency":{"type":"endpoint","endpoint":` + ok + `}}}]}`: "data_sources[0].parameters.environment",
		`{"dataSources":[{"type":"Pinecone","parameters":{"embeddingEndpoint":` + ok + `,"Environment":"e"}}]}`:                                    "dataSources[0].parameters.Environment",
		`{"data_sources":[{"type":"azure_ml_index","parameters":{"endpoint":` + ok + `,"project_resource_id":"/subscriptions/x"}}]}`:               "data_sources[0].parameters.project_resource_id",
		`{"dataSources":[{"type":"AzureMLIndex","parameters":{"endpoint":` + ok + `,"projectResourceId":"/subscriptions/x"}}]}`:                    "dataSources[0].parameters.projectResourceId",
		`{"data_sources":[{"parameters":{"index":"i","embedding_dependency":{"type":"endpoint","endpoint":` + ok + `}}}]}`:                         "data_sources[0]",
		`{"dataSources":[{"parameters":{"index":"i","embeddingEndpoint":` + ok + `}}]}`:                                                            "dataSources[0]",
		`{"dataSources":[{"parameters":{"endpoint":` + ok + `,"embeddingEndpoint":"https://evil.example"}}]}`:                                      "dataSources[0].parameters.embeddingEndpoint",
		`{"data_sources":[{"parameters":{"endpoint":` + ok + `,"embedding_dependency":{"type":"endpoint","endpoint":` + ok + `}}}]}`:               "",
		`{"tools":[{"type":"mcp","server_url":` + ok + `,"connector_id":"connector_dropbox"}]}`:                                                    "tools[0].connector_id",
		`{"tools":[{"connector_id":"connector_dropbox","server_url":` + ok + `,"type":"mcp"}]}`:                                                    "tools[0].connector_id",
		`{"tools":[{"type":"mcp","server_url":` + ok + `,"connector_id":null}]}`:                                                                   "",
	} {
		got := refused(t, opNamed(t, "chat_completions"), body, listed)
		if strings.TrimPrefix(got, "external_reference ") != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

func TestEventsOfASessionAreLookedInto(t *testing.T) {
	const u = `"https://evil.example/x"`
	for body, want := range map[string]string{
		`{"type":"session.update","session":{"tools":[{"type":"mcp","server_url":` + u + `}]}}`:                                  "session.tools[0].server_url",
		` {"type":"response.create","response":{"tools":[{"type":"web_search"}]}}`:                                               "response.tools[0].type",
		`{"type":"response.create","response":{"input":[{"content":[{"image_url":` + u + `}]}]}}`:                                "response.input[0].content[0].image_url",
		`{"type":"conversation.item.create","item":{"type":"message","content":[{"type":"input_image","image_url":` + u + `}]}}`: "item.content[0].image_url",
		`{"type":"session.update","session":{"prompt":{"id":"p","variables":{"v":{"image_url":` + u + `}}}}}`:                    "session.prompt.variables.v.image_url",
		`{"type":"response.create","tools":[{"type":"web_search"}]}`:                                                             "tools[0].type",
		`{"session":{"tools":[]},"session":{"tools":[{"type":"web_search"}]}}`:                                                   "the message",
		`[{"tools":1}]`: "the message",
		`{"type":"session.update","session":{"tools":[{"type":"function","name":"f","parameters":{"url":` + u + `}}],"instructions":` + u + `}}`: "",
		`{"type":"input_audio_buffer.append","audio":"AAAA"}`: "",
		`not JSON at all`: "",
	} {
		err := EventReferences([]byte(body), inside)
		e, _ := errors.AsType[*refusal.Error](err)
		if (err == nil) != (want == "") || e != nil && e.Param != want {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}

// FuzzReferences: what passes has no external reference by a reading that shares
// nothing with this one.
func FuzzReferences(f *testing.F) {
	for _, s := range []string{
		`{"messages":[{"content":[{"image_url":{"url":"https://evil.example"}}]}]}`,
		`{"messages":[{"content":[{"image\u005furl":"https://evil.example"}]}],"tools":[{"type":"mcp","server_url":"https://x"}]}`,
		`{"tools":[{"type":"function","function":{"url":"https://x"}}],"data_sources":[{"parameters":{"endpoint":"https://x"}}]}`,
	} {
		f.Add([]byte(s))
	}
	op := opNamed(f, "chat_completions")
	f.Fuzz(func(t *testing.T, body []byte) {
		scan, err := ScanBody(body)
		if err != nil || References(op, body, &scan, inside) != nil {
			return
		}
		var doc map[string]any
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatal(err)
		}
		list := func(v any) []any { l, _ := v.([]any); return l }
		object := func(v any) map[string]any { o, _ := v.(map[string]any); return o }
		for _, m := range list(doc["messages"]) {
			for _, part := range list(object(m)["content"]) {
				for name, v := range object(part) {
					if url, ok := v.(string); ok && strings.HasSuffix(name, "_url") && policy.External(url) {
						t.Fatalf("%s passes: %s", url, body)
					}
					if url, ok := object(v)["url"].(string); ok && policy.External(url) {
						t.Fatalf("%s passes: %s", url, body)
					}
				}
			}
		}
		for _, tool := range list(doc["tools"]) {
			kind, ok := object(tool)["type"].(string)
			if _, named := object(tool)["server_url"]; ok && (!staysInside(kind) || kind == "mcp" && named) {
				t.Fatalf("%s passes: %s", kind, body)
			}
		}
		if len(list(doc["data_sources"])) > 0 {
			t.Fatalf("a data source passes: %s", body)
		}
	})
}

// The cost for a body that has nothing to find, beside that of the scan.
func BenchmarkReferences(b *testing.B) {
	op := opNamed(b, "chat_completions")
	tools := strings.Repeat(`{"type":"function","function":{"name":"f","description":"gets the weather","parameters":{"type":"object","properties":{"city":{"type":"string","description":"the city"}}}}},`, 10)
	for name, body := range map[string]string{
		"text":  `{"messages":[` + strings.Repeat(`{"role":"user","content":"Tell me, in some words of your own, what the weather is like.\nThen stop."},`, 100) + `{}],"stream":true}`,
		"tools": `{"messages":[{"role":"user","content":"hello"}],"tools":[` + tools + `{"type":"function"}]}`,
		"image": fmt.Sprintf(`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}]}`, strings.Repeat("A", 1<<20)),
	} {
		body := []byte(body)
		scan, err := ScanBody(body)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("scan/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				_, _ = ScanBody(body)
			}
		})
		b.Run("references/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if References(op, body, &scan, inside) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}
