package archive

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// sums maps the name of each file to its SHA-256, in hexadecimal digits.
type sums map[string]string

// text is checksums.txt, as sha256sum writes and reads it.
func (s sums) text() []byte {
	var out strings.Builder
	for _, name := range s.names() {
		fmt.Fprintf(&out, "%s  %s\n", s[name], name)
	}
	return []byte(out.String())
}

func (s sums) names() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// parseSums reads checksums.txt, and checks the names in it: nothing else is in the package.
func parseSums(text []byte, limits Limits) (sums, *Error) {
	all, names := sums{}, newIndex()
	lines := strings.SplitAfter(string(text), "\n")
	for i, line := range lines[:len(lines)-1] { // the last one is what follows the last line end
		sum, name, err := parseSum(i+1, strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, err
		}
		if why := badName(name, limits.Path); why != "" {
			return nil, nameError(name, why)
		}
		if err := names.add(name); err != nil {
			return nil, err
		}
		if all[name] = sum; len(all) > limits.Entries {
			return nil, refuse("too_many_entries", "the package has more than %d files", limits.Entries)
		}
	}
	if rest := lines[len(lines)-1]; rest != "" {
		return nil, refuse("bad_checksums", "the last line of %s does not end", ChecksumsFile)
	}
	if all[ManifestFile] == "" {
		return nil, refuse("no_manifest", "%s does not name %s: this is no module's package", ChecksumsFile, ManifestFile)
	}
	if all[ChecksumsFile] != "" {
		return nil, refuse("bad_checksums", "%s names itself", ChecksumsFile)
	}
	return all, nil
}

func parseSum(number int, line string) (sum, name string, err *Error) {
	sum, name, found := strings.Cut(line, "  ")
	raw, bad := hex.DecodeString(sum)
	if !found || bad != nil || len(raw) != 32 || strings.ToLower(sum) != sum {
		return "", "", refuse("bad_checksums", "line %d of %s is not a SHA-256, two spaces and a name", number, ChecksumsFile)
	}
	return sum, name, nil
}

// nameError says what kind of bad name it is; absolute names, and those that lead out, have codes of their own.
func nameError(name, why string) *Error {
	code := "bad_name"
	switch {
	case strings.HasPrefix(name, "/"):
		code = "absolute_name"
	case slices.Contains(strings.Split(name, "/"), ".."):
		code = "name_leads_out"
	}
	return &Error{Code: code, Message: fmt.Sprintf("a file cannot be called %q: %s", name, why),
		Fix: "rename it, with letters, digits and . _ - + for example, and pack again"}
}
