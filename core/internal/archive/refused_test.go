package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// defect is an archive that must be refused.
type defect struct {
	data []byte
	code string
	text string // a part of the message
}

func special(kind byte, name string) entry {
	return entry{tar.Header{Typeflag: kind, Name: name, Linkname: "/etc/passwd", Mode: 0o644}, ""}
}

func entryDefects(t *testing.T) map[string]defect {
	of := func(others ...entry) []byte { return zip(t, tarOf(t, blog(others...))) }
	setuid := regular("bin/helper", "#!/bin/sh\n")
	setuid.Mode = 0o4755
	stickyFolder := special(tar.TypeDir, "tmp/")
	stickyFolder.Mode = 0o1777
	sparse := special(tar.TypeGNUSparse, "huge")
	return map[string]defect{
		"absolute":             {of(regular("/etc/passwd", "x")), "absolute_name", "it is absolute"},
		"leads out":            {of(regular("../evil", "x")), "name_leads_out", `"../evil"`},
		"leads out later":      {of(regular("a/../../evil", "x")), "name_leads_out", "the part .."},
		"leads out by folder":  {of(special(tar.TypeDir, "../evil/")), "name_leads_out", "the part .."},
		"dot":                  {of(regular("a/./b", "x")), "bad_name", "the part ."},
		"two slashes":          {of(regular("a//b", "x")), "bad_name", "two slashes"},
		"backslash":            {of(regular(`..\evil`, "x")), "bad_name", "U+005C"},
		"drive":                {of(regular("C:evil", "x")), "bad_name", "U+003A"},
		"terminal escape":      {of(regular("\x1b[2J", "x")), "bad_name", "U+001B"},
		"two names in one":     {of(regular("a\nb", "x")), "bad_checksums", "line 2"},
		"not ASCII":            {of(regular("bl\u043eg", "x")), "bad_name", "U+043E"},
		"trailing space":       {of(regular("a ", "x")), "bad_name", "space"},
		"long name":            {of(regular(strings.Repeat("d/", 150)+"f", "x")), "bad_name", "longer than 200 bytes"},
		"symlink":              {of(special(tar.TypeSymlink, "link")), "symlink", `"link"`},
		"hard link":            {of(special(tar.TypeLink, "link")), "hard_link", `"link"`},
		"character device":     {of(special(tar.TypeChar, "null")), "device", `"null"`},
		"block device":         {of(special(tar.TypeBlock, "disk")), "device", `"disk"`},
		"FIFO":                 {of(special(tar.TypeFifo, "pipe")), "fifo", `"pipe"`},
		"sparse":               {zip(t, rawSparse(t, sparse)), "bad_entry_type", "type 'S'"},
		"unknown type":         {of(special('Z', "what")), "bad_entry_type", "type 'Z'"},
		"setuid":               {of(setuid), "special_mode", "mode 4755"},
		"sticky folder":        {of(stickyFolder), "special_mode", "mode 1777"},
		"duplicate":            {of(regular("a", "x"), regular("a", "x")), "duplicate_name", `"a" is there twice`},
		"file and folder":      {of(regular("a", "x"), regular("a/b", "x")), "duplicate_name", "a file and a folder"},
		"case-colliding":       {of(regular("a", "x"), regular("A", "x")), "case_collision", `"A" and "a"`},
		"case-colliding above": {of(regular("d/a", "x"), regular("D/b", "x")), "case_collision", "capitals"},
	}
}

// rawSparse makes an entry that Go's own writer refuses to make.
func rawSparse(t *testing.T, e entry) []byte {
	e.Typeflag = tar.TypeReg
	e.Format = tar.FormatGNU
	tape := tarOf(t, blog(e))
	at := bytes.LastIndex(tape, []byte("huge\x00"))
	block := tape[at : at+512]
	block[156] = tar.TypeGNUSparse
	copy(block[483:495], "77777777777\x00") // the size that it claims
	copy(block[148:156], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return tape
}

func contentDefects(t *testing.T) map[string]defect {
	of := func(entries ...entry) []byte { return zip(t, tarOf(t, withSums(entries))) }
	yaml := func(rest string) entry { return regular("module.yaml", blogManifest+rest) }
	program := regular("bin/linux_amd64/blog", elfFor(amd64))
	changed := blog(regular("a", "x"))
	changed[len(changed)-1].content = "y"
	changedManifest := blog()
	changedManifest[1].content += "description: Another one.\n"
	gone := blog(regular("a", "x"), regular("b", "x"))
	late := blog()
	late[0], late[1] = late[1], late[0]
	unlisted := append(blog(), regular("a", "x"))
	sumsOf := func(text string) []byte {
		return zip(t, tarOf(t, append([]entry{regular("checksums.txt", text)}, blog()[1:]...)))
	}
	good := blog()[0].content
	upper := strings.ToUpper(sumOf("x"))
	return map[string]defect{
		"another content":    {zip(t, tarOf(t, changed)), "checksum_mismatch", `"a" has another checksum`},
		"another manifest":   {zip(t, tarOf(t, changedManifest)), "checksum_mismatch", `"module.yaml"`},
		"a file is missing":  {zip(t, tarOf(t, gone[:len(gone)-1])), "missing_file", `"b"`},
		"a file is unlisted": {zip(t, tarOf(t, unlisted)), "unlisted", `"a" is not in checksums.txt`},
		"sums are late":      {zip(t, tarOf(t, late)), "no_checksums", `but with "module.yaml"`},
		"sums alone":         {zip(t, tarOf(t, blog()[:1])), "no_manifest", "not the second file"},
		"nothing":            {zip(t, tarOf(t, nil)), "empty", "is empty"},
		"sums of nothing":    {sumsOf(""), "no_manifest", "does not name module.yaml"},
		"sums of themselves": {sumsOf(good + sumOf("x") + "  checksums.txt\n"), "bad_checksums", "names itself"},
		"sums without end":   {sumsOf(good + sumOf("x") + "  a"), "bad_checksums", "does not end"},
		"sums in capitals":   {sumsOf(good + upper + "  a\n"), "bad_checksums", "line 3"},
		"sums too short":     {sumsOf("abcd  a\n" + good), "bad_checksums", "line 1"},
		"sums lead out":      {sumsOf(good + sumOf("x") + "  ../a\n"), "name_leads_out", ".."},
		"sums twice":         {sumsOf(good + good), "duplicate_name", "twice"},
		"no manifest":        {of(regular("a", "x"), program), "no_manifest", "module.yaml"},
		"bad manifest":       {of(yaml("colour: red\n"), program), "bad_manifest", `module.yaml:4: unknown key "colour"`},
		"escape in manifest": {of(yaml("description: \"\x1b[2J\"\n"), program), "bad_manifest", "control character"},
		"huge manifest":      {of(yaml("#"+strings.Repeat("x", 256<<10)), program), "bad_manifest", "larger than 256 KiB"},
		"no executable":      {of(yaml("")), "no_executable", "bin/linux_amd64/blog"},
		"another executable": {of(yaml(""), regular("bin/linux_amd64/shop", elfFor(amd64))), "bad_layout", "shop"},
		"beside executable":  {of(yaml(""), program, regular("bin/linux_amd64/lib/a.so", "x")), "bad_layout", "alone"},
		"other machine": {of(yaml(""), regular("bin/linux_amd64/blog", elfFor(arm64))),
			"wrong_platform", "an executable for linux/arm64, not for linux/amd64"},
		"no program": {of(yaml(""), regular("bin/linux_amd64/blog", "text")), "wrong_platform", "no executable for linux/amd64"},
		"its place is taken": {of(yaml(""), program, regular("bin/blog", "x")),
			"duplicate_name", `runtime.executable: "bin/blog" is there twice`},
		"its place is a folder": {of(yaml(""), program, regular("bin/blog/x", "x")), "duplicate_name", "a file and a folder"},
		"its place is the list": {of(yaml("runtime: {executable: checksums.txt}\n"), program), "duplicate_name", "checksums.txt"},
		"its place is odd":      {of(yaml("runtime: {executable: \"bin/bl*g\"}\n"), program), "bad_name", "U+002A"},
		"no config schema": {of(yaml("config: {schema: config.schema.json}\n"), program),
			"missing_file", `module.yaml names "config.schema.json"`},
	}
}

func streamDefects(t *testing.T) map[string]defect {
	good := zip(t, tarOf(t, blog(regular("a", strings.Repeat("some text ", 400)))))
	tape := tarOf(t, blog())
	flipped := bytes.Clone(good)
	flipped[len(flipped)-6] ^= 1 // of gzip's checksum
	random := make([]byte, 3000)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	return map[string]defect{
		"nothing at all":        {nil, "truncated", "too early"},
		"text":                  {[]byte("hello, this is no archive"), "not_a_package", ".tar.gz"},
		"no tar":                {zip(t, bytes.Repeat([]byte("no tar"), 500)), "damaged", "tar"},
		"noise":                 {append([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"), random...), "damaged", "damaged"},
		"bad checksum of gzip":  {flipped, "damaged", "checksum"},
		"data after the end":    {append(bytes.Clone(good), "more"...), "trailing_data", "follows the end"},
		"a second archive":      {append(bytes.Clone(good), good...), "trailing_data", "follows the end"},
		"zeros after the end":   {append(bytes.Clone(good), 0), "trailing_data", "follows the end"},
		"data after the tar":    {zip(t, append(bytes.Clone(tape), "more"...)), "trailing_data", "follows the end"},
		"a second tar":          {zip(t, append(bytes.Clone(tape), tape...)), "trailing_data", "follows the end"},
		"a bomb after the tar":  {zip(t, append(bytes.Clone(tape), make([]byte, 4<<20)...)), "ratio", "100 times its size"},
		"cut within the header": {good[:8], "truncated", "too early"},
		"half a header of tar":  {zip(t, tape[:512*4+100]), "truncated", "too early"},
	}
}

// Whoever made it, whatever is in it: a stable code, and not a byte outside of the folder.
func TestRefused(t *testing.T) {
	t.Parallel()
	defects := entryDefects(t)
	maps.Copy(defects, contentDefects(t))
	maps.Copy(defects, streamDefects(t))
	for name, c := range defects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := extract(t, c.data, Options{})
			require.Equal(t, c.code, code(t, err), "%v", err)
			require.ErrorContains(t, err, c.text)
			_, err = Verify(t.Context(), bytes.NewReader(c.data), Options{})
			require.Equal(t, c.code, code(t, err), "verified, it is refused as it is extracted")
		})
	}
}

func TestTruncatedAnywhere(t *testing.T) {
	t.Parallel()
	data := pack(t, blogSources())
	for n := range len(data) {
		_, err := Verify(t.Context(), bytes.NewReader(data[:n]), Options{})
		require.Equal(t, "truncated", code(t, err), "%d of %d bytes", n, len(data))
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	limits := Limits{Total: 2 << 20, File: 1500 << 10, Entries: 50, Ratio: 100, Path: 100}
	noise := make([]byte, 1600<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	many := func(n int, make func(i int) entry) []entry {
		var all []entry
		for i := range n {
			all = append(all, make(i))
		}
		return all
	}
	folder := func(i int) entry { return special(tar.TypeDir, fmt.Sprintf("d%d/", i)) }
	file := func(i int) entry { return regular(fmt.Sprintf("f%d", i), "x") }
	part := func(i int) entry { return regular(fmt.Sprintf("f%d", i), string(noise[i:i+1<<20])) }
	for name, c := range map[string]struct {
		entries []entry
		code    string
	}{
		"bomb":          {many(1, func(int) entry { return regular("a", strings.Repeat("\x00", 1400<<10)) }), "ratio"},
		"bomb in parts": {many(40, func(i int) entry { return regular(fmt.Sprint(i), strings.Repeat("\x00", 40<<10)) }), "ratio"},
		"large file":    {[]entry{regular("a", string(noise))}, "too_large"},
		"large sum":     {many(3, part), "too_large"},
		"many files":    {many(60, file), "too_many_entries"},
		"many folders":  {many(60, folder), "too_many_entries"},
		"long name":     {[]entry{regular(strings.Repeat("x", 101), "x")}, "bad_name"},
	} {
		_, err := Verify(t.Context(), bytes.NewReader(zip(t, tarOf(t, blog(c.entries...)))), Options{Limits: limits})
		require.Equal(t, c.code, code(t, err), name)
	}
	_, err := Verify(t.Context(), bytes.NewReader(zip(t, tarOf(t, blog(many(40, file)...)))), Options{Limits: limits})
	require.NoError(t, err)
}

func TestMoreThanTenThousand(t *testing.T) {
	t.Parallel()
	var entries []entry
	for i := range 10_000 {
		entries = append(entries, regular(fmt.Sprintf("f%d", i), ""))
	}
	_, err := Verify(t.Context(), bytes.NewReader(zip(t, tarOf(t, blog(entries...)))), Options{})
	require.Equal(t, "too_many_entries", code(t, err))
}

// Empty blocks of gzip become nothing, for as long as somebody sends them.
func TestEndlessNothing(t *testing.T) {
	t.Parallel()
	head := []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
	block := []byte{0, 0, 0, 0xff, 0xff}
	limits := DefaultLimits()
	limits.Total, limits.Entries = 1<<20, 10
	_, err := Verify(t.Context(), &endless{head: head, block: block}, Options{Limits: limits})
	require.Equal(t, "too_large", code(t, err))
}

// endless repeats block after head.
type endless struct {
	head, block []byte
	at          int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		if e.at < len(e.head) {
			p[i] = e.head[e.at]
		} else {
			p[i] = e.block[(e.at-len(e.head))%len(e.block)]
		}
		e.at++
	}
	return len(p), nil
}

func TestAPlatformThatIsNotThere(t *testing.T) {
	t.Parallel()
	_, dir, err := extract(t, pack(t, blogSources()), Options{Platform: "darwin/arm64"})
	require.Equal(t, "platform_missing", code(t, err))
	require.ErrorContains(t, err, "the package is for linux/amd64, linux/arm64; this is darwin/arm64")
	require.Empty(t, tree(t, dir), "that is known before anything is written")
}
