package archtest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// topLevel is everything that may stand at the root, besides dot files.
func topLevel() []string {
	return []string{
		"cmd", "gateway", "controlplane", "stamp", "geo", "infra", "loadtest",
		"go.mod", "go.sum", "Makefile", "README.md", "LICENSE",
	}
}

// CheckTopLevel reports entries of the root that do not belong there.
func CheckTopLevel(entries []string) []string {
	var wrong []string
	for _, e := range entries {
		if !strings.HasPrefix(e, ".") && !slices.Contains(topLevel(), e) {
			wrong = append(wrong, e+" does not belong at the top level")
		}
	}
	return wrong
}

// CheckNoLocalPaths reports files that name a place on somebody's machine. Tests
// may look for reference data beside the checkout, which they do without when it
// is not there.
func CheckNoLocalPaths(files map[string]string) []string {
	// Written in two halves so that this file does not report itself.
	local := regexp.MustCompile(`(^|[^A-Za-z0-9_.~-])/wo` + `rk/|/home/[a-z]+/|/Use` + `rs/[A-Za-z]+/`)
	beside := regexp.MustCompile(`\.\./sha` + `red\b`)
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		n := 0
		for line := range strings.Lines(files[name]) {
			n++
			if local.MatchString(line) || (beside.MatchString(line) && !strings.HasSuffix(name, "_test.go")) {
				wrong = append(wrong, fmt.Sprintf("%s:%d names a path of somebody's machine: %s", name, n, strings.TrimSpace(line)))
			}
		}
	}
	return wrong
}

// CheckNoNotes reports Go files that put work off in a comment.
func CheckNoNotes(files map[string]string) []string {
	note := regexp.MustCompile(`(//|/\*|#|<!--).*\b(TO` + `DO|FIX` + `ME)\b`)
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		n := 0
		for line := range strings.Lines(files[name]) {
			n++
			if note.MatchString(line) {
				wrong = append(wrong, fmt.Sprintf("%s:%d puts work off: finish it, or write a decision", name, n))
			}
		}
	}
	return wrong
}

// CheckLinks reports links between Markdown files that lead nowhere: to a file
// that is not there, or a heading that the file has not. exists is asked for
// paths relative to the root.
func CheckLinks(files map[string]string, exists func(path string) bool) []string {
	link := regexp.MustCompile(`\]\(([^()\s]+)(?:\s+"[^"]*")?\)`)
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(prose(files[name]), -1) {
			if why := brokenLink(name, m[1], files, exists); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s: link to %s: %s", name, m[1], why))
			}
		}
	}
	return wrong
}

// brokenLink says what is wrong with a link, or nothing.
func brokenLink(from, to string, files map[string]string, exists func(string) bool) string {
	if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return "" // the network is not asked
	}
	file, anchor, hasAnchor := strings.Cut(to, "#")
	target := from
	if file != "" {
		target = path.Join(path.Dir(from), file)
		if strings.HasPrefix(file, "/") {
			target = strings.TrimPrefix(path.Clean(file), "/")
		}
	}
	if target == ".." || strings.HasPrefix(target, "../") {
		return "it leads out of the repository"
	}
	if !exists(target) {
		return "there is no such file"
	}
	if hasAnchor && strings.HasSuffix(target, ".md") && !slices.Contains(anchors(files[target]), anchor) {
		return "there is no such heading"
	}
	return ""
}

// prose is a Markdown text without code, in which brackets mean other things.
func prose(text string) string {
	var out strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced {
			out.WriteString(line)
		}
	}
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(out.String(), "")
}

// anchors are the names under which the headings of a Markdown text can be
// linked to, as the usual renderers make them.
func anchors(text string) []string {
	var all []string
	count := map[string]int{}
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		title := strings.TrimLeft(line, "#")
		if fenced || title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			default:
				return -1
			}
		}, strings.TrimSpace(title))
		if n := count[slug]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", slug, n))
		} else {
			all = append(all, slug)
		}
		count[slug]++
	}
	return all
}
