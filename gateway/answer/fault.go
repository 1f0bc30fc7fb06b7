package answer

import (
	"slices"
	"strings"

	"github.com/stampgate/stampgate/gateway/operation/strictjson"
)

// FaultLimit is how much of an error is looked at, in bytes: Azure's longest, a
// content filter's verdict with all its categories, has some 2 kB.
const FaultLimit = 64 << 10

// textLimit bounds each text of a Fault, in bytes.
const textLimit = 4 << 10

// A Fault is the error that a backend put into words. The zero Fault says nothing.
type Fault struct {
	Code    string
	Type    string
	Param   string
	Message string
	Inner   string // innererror.code
}

// ParseFault reads the error out of a body or of the data of an event: the
// member error, or that of the member response, or the object itself. What is
// cut off or cannot be read is left out.
func ParseFault(body []byte) Fault {
	body = body[:min(len(body), FaultLimit)]
	var own, inner Fault
	found := false
	walk(body, func(name string, m strictjson.Member) {
		switch name {
		case "error":
			inner, found = faultOf(body, m), m.Kind != strictjson.Null
		case "response":
			if m.Kind != strictjson.Object || found {
				return
			}
			response := body[m.Start:m.End]
			walk(response, func(name string, m strictjson.Member) {
				if name == "error" && m.Kind == strictjson.Object {
					inner, found = faultOf(response, m), true
				}
			})
		default:
			own.take(body, name, m)
		}
	})
	if found {
		return inner
	}
	return own
}

// faultOf reads the value of a member error: an object, or just a sentence.
func faultOf(data []byte, m strictjson.Member) Fault {
	var f Fault
	switch m.Kind {
	case strictjson.String:
		f.Message = text(data, m)
	case strictjson.Object:
		object := data[m.Start:m.End]
		walk(object, func(name string, m strictjson.Member) { f.take(object, name, m) })
	default:
	}
	return f
}

func (f *Fault) take(data []byte, name string, m strictjson.Member) {
	switch name {
	case "code":
		f.Code = text(data, m)
	case "type":
		f.Type = text(data, m)
	case "param":
		f.Param = text(data, m)
	case "message":
		f.Message = text(data, m)
	case "innererror", "inner_error": // as Azure sends it, and as its documents spell it
		if m.Kind == strictjson.Object {
			object := data[m.Start:m.End]
			walk(object, func(name string, m strictjson.Member) {
				if name == "code" {
					f.Inner = text(object, m)
				}
			})
		}
	}
}

// walk visits the members of an object as far as it can be read.
func walk(data []byte, visit func(name string, m strictjson.Member)) {
	var m strictjson.Member
	w := strictjson.Begin(data, strictjson.Limits{MaxDepth: 512, MaxNames: 1024})
	for w.Next(&m) {
		visit(string(m.Name), m)
	}
}

// text is a string or, for a code, a number as it is written.
func text(data []byte, m strictjson.Member) string {
	var b []byte
	switch m.Kind {
	case strictjson.String:
		b = strictjson.Text(data, m)
	case strictjson.Number:
		b = data[m.Start:m.End]
	default:
	}
	return string(b[:min(len(b), textLimit)])
}

// is reports whether one of the names is the fault's code, its inner code or its
// type.
func (f Fault) is(names []string) bool {
	return slices.Contains(names, f.Code) || slices.Contains(names, f.Inner) || slices.Contains(names, f.Type)
}

func (f Fault) says(words string) bool { return strings.Contains(f.Message, words) }

func quotaSpent() []string { return []string{"insufficient_quota", "billing_hard_limit_reached"} }

func limited() []string {
	return []string{
		"rate_limit_exceeded", "RateLimitReached", "rate_limit_error", "too_many_requests", "TooManyRequests",
		"tokens", "requests", // the types that OpenAI gives to a limit
	}
}

func deploymentMissing() []string { return []string{"DeploymentNotFound"} }

func modelMissing() []string { return []string{"model_not_found", "ModelNotFound"} }

// clients are the names of what is the client's own: another target would say
// the same, and it must not be hidden behind a 502.
func clients() []string {
	return []string{
		"content_filter", "ResponsibleAIPolicyViolation", "content_policy_violation", "moderation_blocked",
		"invalid_request_error", "invalid_request", "BadRequest", "InvalidRequest", "OperationNotSupported",
		"context_length_exceeded", "string_above_max_length", "invalid_prompt", "invalid_value", "invalid_type",
		"missing_required_parameter", "unknown_parameter", "unsupported_parameter", "unsupported_value",
		"invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "image_too_large", "image_parse_error",
		"image_content_policy_violation", "image_generation_user_error", "data_residency_mismatch", "session_expired",
	}
}
