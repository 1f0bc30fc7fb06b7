package strictjson

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// fewNames is how many names are compared one by one. A chat request has some
// ten; beyond, a map (whose hash is seeded) keeps the work linear.
const fewNames = 16

type nameResult uint8

const (
	nameNew nameResult = iota
	nameDuplicate
	nameTooMany
)

// A nameSet holds the names that an object had so far.
type nameSet struct {
	count int
	few   [fewNames][]byte
	many  map[string]struct{}
}

func (s *nameSet) add(name []byte, limit int) nameResult {
	for i := range min(s.count, fewNames) {
		if bytes.Equal(s.few[i], name) {
			return nameDuplicate
		}
	}
	if _, ok := s.many[string(name)]; ok {
		return nameDuplicate
	}
	if s.count >= limit {
		return nameTooMany
	}
	if s.count < fewNames {
		s.few[s.count] = name
	} else {
		if s.many == nil {
			s.many = make(map[string]struct{})
		}
		s.many[string(name)] = struct{}{}
	}
	s.count++
	return nameNew
}

// unescape decodes what is between the quotes of a string that text accepted.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(raw[i+2:])
			if utf16.IsSurrogate(r) {
				r = utf16.DecodeRune(r, hex4(raw[i+8:]))
				i += 6
			}
			out = utf8.AppendRune(out, r)
			i += 4
		default: // a quote, a slash or a backslash
			out = append(out, c)
		}
		i += 2
	}
	return out
}

// AppendString appends s as a JSON string; invalid UTF-8 becomes U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
