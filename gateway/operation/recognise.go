package operation

import (
	"net/url"
	"slices"
	"strings"

	"github.com/stampgate/stampgate/gateway/refusal"
)

// Bounds on a request line. A deployment of Azure has at most 64 characters;
// the ids of some objects are longer, the more so when sealed.
const (
	maxPath    = 2048
	maxName    = 512
	maxNames   = 3 // in one path
	maxQuery   = 4096
	maxParams  = 32
	maxVersion = 32
)

// Recognise finds the operation of a request by an exact list. The path is as it
// came on the wire (URL.EscapedPath), the query likewise (URL.RawQuery). The
// error is an *refusal.Error: 400 for a path or query that is malformed or ambiguous,
// 404 for one that is no operation or one that is not served; in the latter case
// Match.Operation is set.
func Recognise(method, escapedPath, rawQuery string) (Match, error) {
	if err := checkPath(escapedPath); err != nil {
		return Match{}, err
	}
	m, err := find(method, escapedPath)
	if err != nil {
		return Match{}, err
	}
	if !m.Operation.Served {
		return m, notFound("this gateway does not serve this operation")
	}
	if err := m.readQuery(rawQuery); err != nil {
		return Match{}, err
	}
	if m.Operation.Surface == Dated && m.APIVersion == "" {
		return Match{}, badParam("api-version", "the query parameter api-version is missing")
	}
	return m, nil
}

// checkPath refuses every spelling that another server might read as another
// path: what is left has one reading.
func checkPath(p string) *refusal.Error {
	switch {
	case len(p) > maxPath:
		return bad("the path is too long")
	case p == "" || p[0] != '/':
		return bad("the path does not start with a slash")
	case strings.Contains(p, "//"):
		return bad("the path has an empty segment, as of a base URL that ends in two slashes; " + bases)
	}
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c <= ' ' || c >= 0x7f || c == '\\' || c == ';' || c == '?' || c == '#' {
			return bad("the path has a character that is not allowed")
		}
		if c != '%' {
			continue
		}
		b, ok := unhex(p[i:])
		if !ok || !nameByte(b) || b == '.' {
			return bad("the path has an escape that is not allowed")
		}
	}
	for part := range strings.SplitSeq(p[1:], "/") {
		if part == "." || part == ".." {
			return bad("the path has a dot segment")
		}
	}
	return nil
}

// find walks the tree of paths.
func find(method, path string) (Match, *refusal.Error) {
	rest, ok := strings.CutPrefix(path, "/openai/")
	if !ok {
		return Match{}, noOperation(path)
	}
	surface := Dated
	if v1, ok := strings.CutPrefix(rest, "v1/"); ok {
		surface, rest = V1, v1
	}
	var m Match
	n, count := theIndex().surfaces[surface], 0
	for part := range strings.SplitSeq(rest, "/") {
		if next := n.literals[part]; next != nil {
			n = next
			continue
		}
		name, ok := decodeName(part)
		if n = n.name; n == nil || !ok || count == maxNames {
			return Match{}, noOperation(path)
		}
		m.names[count] = name
		count++
	}
	op := n.methods[method]
	if op == nil {
		return Match{}, otherMethod(n, path)
	}
	m.Operation = op
	i := 0
	for _, s := range op.path {
		switch {
		case s.literal != "":
			continue
		case s.deployment:
			m.Deployment = m.names[i]
		case m.ID == "":
			m.ID = m.names[i]
		}
		i++
	}
	return m, nil
}

// decodeName undoes the escapes of a name that checkPath let pass.
func decodeName(s string) (string, bool) {
	if s == "" || len(s) > maxName {
		return "", false
	}
	if strings.IndexByte(s, '%') >= 0 {
		var b strings.Builder
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c == '%' {
				c, _ = unhex(s[i:])
				i += 2
			}
			b.WriteByte(c)
		}
		s = b.String()
	}
	return s, validName(s)
}

func validName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}

// nameByte reports whether a name in a path may hold c. Azure's own names are
// letters, digits, dot, hyphen and underscore; clients and other servers use a
// few more.
func nameByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("._-~:@+=", c) >= 0
}

func unhex(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	v, err := url.PathUnescape(s[:3])
	if err != nil || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}

// readQuery takes the parameters from the allow-list and drops the others: a
// credential in the query, say, stops here. It refuses what two servers might
// read differently.
func (m *Match) readQuery(raw string) *refusal.Error {
	if raw == "" {
		return nil
	}
	if len(raw) > maxQuery {
		return bad("the query is too long")
	}
	if strings.IndexByte(raw, ';') >= 0 {
		return bad("the query has a semicolon")
	}
	if strings.Count(raw, "&") >= maxParams {
		return bad("the query has too many parameters")
	}
	var seen [maxParams]string
	count := 0
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		escapedName, escapedValue, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(escapedName)
		value, err2 := url.QueryUnescape(escapedValue)
		if err1 != nil || err2 != nil {
			return bad("the query has an escape that is not allowed")
		}
		if slices.Contains(seen[:count], name) {
			return duplicate(m.Operation, name)
		}
		seen[count] = name
		count++
		if err := m.takeParam(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (m *Match) takeParam(name, value string) *refusal.Error {
	if name == apiVersion {
		if !validVersion(value) {
			return badParam(apiVersion, "api-version is not a version")
		}
		m.APIVersion = value
		return nil
	}
	if m.Operation.model != "" && name == m.Operation.model {
		if !validName(value) {
			return badParam(name, name+" is not the name of a deployment")
		}
		m.Deployment = value
		return nil
	}
	if m.Operation.passes(name) {
		m.query = join(m.query, name+"="+url.QueryEscape(value))
	}
	return nil
}

const apiVersion = "api-version"

// passes reports whether the parameter is one of those that mean something.
func (op *Operation) passes(param string) bool {
	return param != "" && (param == op.model || slices.Contains(op.query, param))
}

func duplicate(op *Operation, name string) *refusal.Error {
	if name == apiVersion || op.passes(name) {
		return badParam(name, "the query parameter "+name+" occurs twice")
	}
	return bad("a query parameter occurs twice")
}

func validVersion(v string) bool {
	if v == "" || len(v) > maxVersion {
		return false
	}
	for i := range len(v) {
		c := v[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// UpstreamPath builds the escaped path and the query of the request to a
// backend from the parsed parts alone: nothing of the client's spelling remains.
// A name with characters that need no escape in a path, as all names of Azure
// deployments, is the same escaped and not.
func UpstreamPath(m Match, deployment string) (path, query string) {
	var b strings.Builder
	b.WriteString("/openai")
	if m.Operation.Surface == V1 {
		b.WriteString("/v1")
	}
	i := 0
	for _, s := range m.Operation.path {
		b.WriteByte('/')
		if s.literal != "" {
			b.WriteString(s.literal)
			continue
		}
		name := m.names[i]
		if s.deployment {
			name = deployment
		}
		b.WriteString(url.PathEscape(name))
		i++
	}
	query = m.query
	if m.Operation.model != "" {
		query = join(query, m.Operation.model+"="+url.QueryEscape(deployment))
	}
	if m.APIVersion != "" {
		query = join(query, apiVersion+"="+m.APIVersion)
	}
	return b.String(), query
}

func join(query, parameter string) string {
	if query == "" {
		return parameter
	}
	return query + "&" + parameter
}

// Route returns the name of the route that the request asks for: the deployment
// in the path or the query, or the model in the body. The error is an *refusal.Error.
func Route(m Match, b *Body) (string, error) {
	switch m.Operation.ModelIn {
	case ModelInPath:
		return m.Deployment, nil
	case ModelInBody:
		if !b.Model.Set || len(b.Model.bytes) == 0 {
			return "", badParam("model", "model is missing")
		}
		return b.Model.String(), nil
	case ModelInQuery:
		if m.Deployment == "" {
			return "", badParam(m.Operation.model, "the query parameter "+m.Operation.model+" is missing")
		}
		return m.Deployment, nil
	case ModelNone:
	}
	panic("operation: Route of an operation without a model: " + m.Operation.Name)
}

func bad(message string) *refusal.Error {
	return &refusal.Error{Cause: refusal.InvalidRequest, Message: message}
}

func badParam(param, message string) *refusal.Error {
	return &refusal.Error{Cause: refusal.InvalidRequest, Message: message, Param: param}
}

func notFound(message string) *refusal.Error {
	return &refusal.Error{Cause: refusal.OperationNotFound, Message: message}
}
