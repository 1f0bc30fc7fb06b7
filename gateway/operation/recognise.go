package operation

type segment struct{ literal string }

// Recognise finds the operation of a request by an exact list. The path is as it
// came on the wire (URL.EscapedPath), the query likewise (URL.RawQuery). The
// error is an *Error: 400 for a path or query that is malformed or ambiguous,
// 404 for one that is no operation or one that is not served; in the latter case
// Match.Operation is set.
func Recognise(method, escapedPath, rawQuery string) (Match, error) {
	return Match{}, &Error{Status: 404, Code: "operation_not_found", Message: "not written"}
}

// UpstreamPath builds the escaped path and the query of the request to a
// backend from the parsed parts alone: nothing of the client's spelling remains.
func UpstreamPath(m Match, deployment string) (path, query string) { return "", "" }

// Route returns the name of the route that the request asks for: the deployment
// in the path, or the model in the body. The error is an *Error.
func Route(m Match, b *Body) (string, error) { return "", nil }
