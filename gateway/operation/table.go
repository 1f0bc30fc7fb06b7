package operation

import "github.com/stampgate/stampgate/gateway/sse"

// segment is one part of a path: a literal, or, if the literal is empty, a
// name that the client chose.
type segment struct {
	literal    string
	deployment bool // the name is a deployment, else an id
}

// table returns the rows of the API: what is served first, then what Azure has
// and this gateway knows but refuses. A later operation is a row here.
func table() []Operation {
	rows := served()
	for _, k := range known() {
		for _, method := range k.methods {
			rows = append(rows, row(k.surface, method, k.path, Operation{Name: k.name}))
		}
	}
	return rows
}

func served() []Operation {
	post := func(path string, op Operation) []Operation {
		op.Form, op.Served, op.Stateless = JSON, true, true
		dated, v1 := op, op
		dated.ModelIn, v1.ModelIn = ModelInPath, ModelInBody
		return []Operation{
			row(Dated, "POST", "deployments/{d}/"+path, dated),
			row(V1, "POST", path, v1),
		}
	}
	get := func(path, name string) []Operation {
		op := Operation{Name: name, Form: NoBody, Served: true, Stateless: true, Local: true}
		return []Operation{row(Dated, "GET", path, op), row(V1, "GET", path, op)}
	}
	var rows []Operation
	for _, more := range [][]Operation{
		post("chat/completions", Operation{Name: "chat_completions", Streams: true, ErrorForm: sse.Chat}),
		post("completions", Operation{Name: "completions", Streams: true, ErrorForm: sse.Chat}),
		post("embeddings", Operation{Name: "embeddings"}),
		post("audio/speech", Operation{Name: speech, Streams: true, ErrorForm: sse.Typed}),
		post("images/generations", Operation{Name: "images_generations", Streams: true, ErrorForm: sse.Typed}),
		get("models", "models"),
		get("models/{id}", "model"),
		realtime(),
	} {
		rows = append(rows, more...)
	}
	return rows
}

const speech = "audio_speech"

// realtime is the session by WebSocket, which names its deployment in the query.
// It is not stateless: a session that broke off cannot go on elsewhere. A
// credential in the query, which Azure admits here, stops at the list of
// parameters like anywhere.
func realtime() []Operation {
	op := Operation{Name: "realtime", ModelIn: ModelInQuery, Form: NoBody, Served: true, WebSocket: true}
	dated, v1 := op, op
	dated.model, v1.model = "deployment", "model"
	v1.query = []string{"intent"} // transcription instead of a conversation
	return []Operation{row(Dated, "GET", "realtime", dated), row(V1, "GET", "realtime", v1)}
}

// An unserved operation is a path that Azure has and this gateway does not serve.
type unserved struct {
	name    string
	surface Surface
	path    string
	methods []string
}

func known() []unserved {
	var rows []unserved
	both := func(name, path string, methods ...string) {
		rows = append(rows, unserved{name, Dated, path, methods}, unserved{name, V1, path, methods})
	}
	one := func(surface Surface, name, path string, methods ...string) {
		rows = append(rows, unserved{name, surface, path, methods})
	}
	for _, m := range []struct{ name, path string }{
		{"audio_transcriptions", "audio/transcriptions"},
		{"audio_translations", "audio/translations"},
		{"images_edits", "images/edits"},
	} {
		one(Dated, m.name, "deployments/{d}/"+m.path, "POST")
		one(V1, m.name, m.path, "POST")
	}
	one(Dated, "realtime_sessions", "realtimeapi/sessions", "POST")
	one(Dated, "realtime_sessions", "realtimeapi/transcription_sessions", "POST")
	one(V1, "realtime_sessions", "realtime/client_secrets", "POST")
	one(V1, "realtime_calls", "realtime/calls", "POST")
	one(V1, "responses", "responses", "GET") // the WebSocket
	one(V1, "responses", "responses/compact", "POST")
	one(V1, "conversations", "conversations", "POST")
	one(V1, "conversations", "conversations/{id}", "GET", "POST", "DELETE")
	one(V1, "conversations", "conversations/{id}/items", "GET", "POST")
	one(V1, "conversations", "conversations/{id}/items/{id}", "GET", "DELETE")

	both("responses", "responses", "POST")
	both("responses", "responses/{id}", "GET", "DELETE")
	both("responses", "responses/{id}/cancel", "POST")
	both("responses", "responses/{id}/input_items", "GET")
	both("chat_completions_stored", "chat/completions", "GET")
	both("chat_completions_stored", "chat/completions/{id}", "GET", "POST", "DELETE")
	both("chat_completions_stored", "chat/completions/{id}/messages", "GET")
	both("files", "files", "GET", "POST")
	both("files", "files/import", "POST")
	both("files", "files/{id}", "GET", "DELETE")
	both("files", "files/{id}/content", "GET")
	both("uploads", "uploads", "POST")
	both("uploads", "uploads/{id}/parts", "POST")
	both("uploads", "uploads/{id}/complete", "POST")
	both("uploads", "uploads/{id}/cancel", "POST")
	both("batches", "batches", "GET", "POST")
	both("batches", "batches/{id}", "GET")
	both("batches", "batches/{id}/cancel", "POST")
	one(Dated, "batches", "deployments/{d}/batches", "POST") // as openai-node spells it
	both("assistants", "assistants", "GET", "POST")
	both("assistants", "assistants/{id}", "GET", "POST", "DELETE")
	both("threads", "threads", "POST")
	both("threads", "threads/runs", "POST")
	both("threads", "threads/{id}", "GET", "POST", "DELETE")
	both("threads", "threads/{id}/messages", "GET", "POST")
	both("threads", "threads/{id}/messages/{id}", "GET", "POST", "DELETE")
	both("threads", "threads/{id}/runs", "GET", "POST")
	both("threads", "threads/{id}/runs/{id}", "GET", "POST")
	both("threads", "threads/{id}/runs/{id}/submit_tool_outputs", "POST")
	both("threads", "threads/{id}/runs/{id}/cancel", "POST")
	both("threads", "threads/{id}/runs/{id}/steps", "GET")
	both("threads", "threads/{id}/runs/{id}/steps/{id}", "GET")
	both("vector_stores", "vector_stores", "GET", "POST")
	both("vector_stores", "vector_stores/{id}", "GET", "POST", "DELETE")
	both("vector_stores", "vector_stores/{id}/search", "POST")
	both("vector_stores", "vector_stores/{id}/files", "GET", "POST")
	both("vector_stores", "vector_stores/{id}/files/{id}", "GET", "POST", "DELETE")
	both("vector_stores", "vector_stores/{id}/files/{id}/content", "GET")
	both("vector_stores", "vector_stores/{id}/file_batches", "POST")
	both("vector_stores", "vector_stores/{id}/file_batches/{id}", "GET")
	both("vector_stores", "vector_stores/{id}/file_batches/{id}/cancel", "POST")
	both("vector_stores", "vector_stores/{id}/file_batches/{id}/files", "GET")
	one(V1, "containers", "containers", "GET", "POST")
	one(V1, "containers", "containers/{id}", "GET", "DELETE")
	one(V1, "containers", "containers/{id}/files", "GET", "POST")
	one(V1, "containers", "containers/{id}/files/{id}", "GET", "DELETE")
	one(V1, "containers", "containers/{id}/files/{id}/content", "GET")
	both("evals", "evals", "GET", "POST")
	both("evals", "evals/{id}", "GET", "POST", "DELETE")
	both("evals", "evals/{id}/runs", "GET", "POST")
	both("evals", "evals/{id}/runs/{id}", "GET", "POST", "DELETE")
	both("evals", "evals/{id}/runs/{id}/output_items", "GET")
	both("evals", "evals/{id}/runs/{id}/output_items/{id}", "GET")
	both("fine_tuning", "fine_tuning/jobs", "GET", "POST")
	both("fine_tuning", "fine_tuning/jobs/{id}", "GET", "DELETE")
	both("fine_tuning", "fine_tuning/jobs/{id}/cancel", "POST")
	both("fine_tuning", "fine_tuning/jobs/{id}/pause", "POST")
	both("fine_tuning", "fine_tuning/jobs/{id}/resume", "POST")
	both("fine_tuning", "fine_tuning/jobs/{id}/checkpoints", "GET")
	both("fine_tuning", "fine_tuning/jobs/{id}/checkpoints/{id}/copy", "GET", "POST")
	both("fine_tuning", "fine_tuning/jobs/{id}/events", "GET")
	one(V1, "fine_tuning", "fine_tuning/alpha/graders/run", "POST")
	one(V1, "fine_tuning", "fine_tuning/alpha/graders/validate", "POST")
	one(Dated, "ingestion", "ingestion/jobs", "GET")
	one(Dated, "ingestion", "ingestion/jobs/{id}", "GET", "PUT")
	one(Dated, "ingestion", "ingestion/jobs/{id}/runs", "GET")
	one(Dated, "ingestion", "ingestion/jobs/{id}/runs/{id}", "GET")
	return rows
}
