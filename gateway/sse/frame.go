package sse

import (
	"strconv"

	"github.com/stampgate/stampgate/gateway/operation/strictjson"
)

// ErrorFrame builds the event that ends this stream, with the number that comes
// next in its sequence.
func (s *Scanner) ErrorFrame(code, message string) []byte {
	return errorFrame(s.form, code, message, s.events)
}

// ErrorFrame builds the event that tells a client of this form that the stream
// failed, as if it were the stream's first. Nothing may follow it, least of all
// [DONE], which would make clients take the answer for complete.
func ErrorFrame(form Form, code, message string) []byte { return errorFrame(form, code, message, 0) }

func errorFrame(form Form, code, message string, sequence int) []byte {
	var b []byte
	switch form {
	case None:
		return nil
	case Chat:
		b = append(b, `data: {"error":`...)
	case Responses:
		b = append(b, `event: error`+"\n"+`data: {"type":"error","code":`...)
		b = strictjson.AppendString(b, code)
		b = append(b, `,"message":`...)
		b = strictjson.AppendString(b, message)
		b = append(b, `,"param":null,"sequence_number":`...)
		b = strconv.AppendInt(b, int64(sequence), 10)
		return append(b, "}\n\n"...)
	case Typed:
		b = append(b, `event: error`+"\n"+`data: {"type":"error","error":`...)
	}
	b = append(b, `{"message":`...)
	b = strictjson.AppendString(b, message)
	b = append(b, `,"type":"server_error","param":null,"code":`...)
	b = strictjson.AppendString(b, code)
	return append(b, "}}\n\n"...)
}
