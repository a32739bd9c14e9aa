package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/backend"
)

// part is a member of an archive that a test makes.
type part struct {
	name string
	kind byte
	text string
}

// forge rewrites an archive; the contents keep the checksums that they had, unless resum.
func forge(t *testing.T, file string, resum bool, change func(c *contents, parts []part) []part) string {
	t.Helper()
	in, err := os.Open(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, in.Close()) }()
	var parts []part
	for reader := tar.NewReader(in); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text, err := io.ReadAll(reader)
		require.NoError(t, err)
		parts = append(parts, part{header.Name, header.Typeflag, string(text)})
	}
	c := &contents{}
	require.NoError(t, json.Unmarshal([]byte(parts[0].text), c))
	parts = change(c, parts)
	if resum {
		for i := range c.Members {
			sum := sha256.Sum256([]byte(parts[i+1].text))
			c.Members[i].Size, c.Members[i].SHA256 = int64(len(parts[i+1].text)), hex.EncodeToString(sum[:])
		}
	}
	text, err := json.Marshal(c)
	require.NoError(t, err)
	parts[0].text = string(text)
	var out bytes.Buffer
	writer := tar.NewWriter(&out)
	for _, p := range parts {
		header := &tar.Header{Name: p.name, Typeflag: p.kind, Mode: 0o600, Size: int64(len(p.text))}
		if p.kind == tar.TypeSymlink {
			header.Linkname, header.Size = "/etc/passwd", 0
		}
		require.NoError(t, writer.WriteHeader(header))
		if p.kind == tar.TypeReg {
			_, err := io.WriteString(writer, p.text)
			require.NoError(t, err)
		}
	}
	require.NoError(t, writer.Close())
	forged := filepath.Join(t.TempDir(), "forged.tar")
	require.NoError(t, os.WriteFile(forged, out.Bytes(), 0o600))
	return forged
}

// badArchive is one that must be refused, and why.
type badArchive struct{ file, says string }

func TestBadArchivesChangeNothing(t *testing.T) {
	t.Parallel()
	o := platform(t)
	good := backUp(t, o)
	keep := func(_ *contents, parts []part) []part { return parts }
	_, err := Restore(t.Context(), Options{DataDir: t.TempDir()}, forge(t, good, true, keep), false)
	require.NoError(t, err, "what follows is refused for what is wrong with it, not for being forged")
	all := brokenArchives(t, good)
	maps.Copy(all, forgedArchives(t, good))
	for name, c := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := platform(t)
			before := tree(t, filepath.Dir(o.DataDir))
			_, err := Restore(t.Context(), o, c.file, true)
			require.ErrorContains(t, err, c.says)
			require.Contains(t, err.Error(), "(fix: ")
			require.Equal(t, before, tree(t, filepath.Dir(o.DataDir)))
			require.NoDirExists(t, filepath.Join(o.DataDir, "restoring"))
		})
	}
}

// brokenArchives were damaged on their way.
func brokenArchives(t *testing.T, good string) map[string]badArchive {
	t.Helper()
	whole, err := os.ReadFile(good)
	require.NoError(t, err)
	raw := func(text []byte) string {
		file := filepath.Join(t.TempDir(), "bad.tar")
		require.NoError(t, os.WriteFile(file, text, 0o600))
		return file
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	return map[string]badArchive{
		"empty":          {raw(nil), "no backup"},
		"text":           {raw([]byte(strings.Repeat("hello ", 1000))), "no backup"},
		"cut in a file":  {raw(whole[:len(whole)/2]), "EOF"},
		"cut in a list":  {raw(whole[:700]), "EOF"},
		"cut after one":  {raw(whole[:bytes.Index(whole, []byte("modules/billing/billing.db\x00"))]), "EOF"},
		"a flipped bit":  {raw(flipped), "checksum"},
		"a missing file": {filepath.Join(t.TempDir(), "none.tar"), "no such file"},
		"a folder":       {t.TempDir(), "no regular file"},
	}
}

// forgedArchives were made to do harm, or by another platformd.
func forgedArchives(t *testing.T, good string) map[string]badArchive {
	t.Helper()
	return map[string]badArchive{
		"newer": {forge(t, good, false, func(c *contents, parts []part) []part {
			c.Format = format + 1
			return parts
		}), "newer"},
		"no format": {forge(t, good, false, func(c *contents, parts []part) []part {
			c.Format = 0
			return parts
		}), "no format"},
		"another backend": {forge(t, good, false, func(c *contents, parts []part) []part {
			c.Backend, c.Members = backend.PostgreSQL, []member{{Name: coreDump}, {Name: ledgersDump}}
			c.Modules = nil
			return parts
		}), "a backup of a platform on " + backend.PostgreSQL},
		"an unknown backend": {forge(t, good, false, func(c *contents, parts []part) []part {
			c.Backend = "oracle"
			return parts
		}), "unknown backend"},
		"a member too many": {forge(t, good, false, func(_ *contents, parts []part) []part {
			return append(parts, part{"daemon.id", tar.TypeReg, "x"})
		}), "more than it says"},
		"a listed stranger": {forge(t, good, false, func(c *contents, parts []part) []part {
			c.Members = append(c.Members, member{Name: "daemon.id"})
			return append(parts, part{"daemon.id", tar.TypeReg, ""})
		}), "does not list"},
		"an escape": {forge(t, good, true, func(c *contents, parts []part) []part {
			c.Modules[1] = "../x"
			parts[3].name = fileOf("../x")
			c.Members[2].Name = parts[3].name
			return parts
		}), "cannot be"},
		"a member twice": {forge(t, good, true, func(c *contents, parts []part) []part {
			c.Modules[1] = c.Modules[0]
			c.Members[2].Name, parts[3].name = c.Members[1].Name, parts[2].name
			return parts
		}), "not twice"},
		"another name inside": {forge(t, good, false, func(_ *contents, parts []part) []part {
			parts[2].name = "../../outside"
			return parts
		}), "in its place"},
		"a link": {forge(t, good, false, func(_ *contents, parts []part) []part {
			parts[2].kind = tar.TypeSymlink
			return parts
		}), "in its place"},
		"no database": {forge(t, good, true, func(_ *contents, parts []part) []part {
			parts[2].text = "hello"
			return parts
		}), "not an SQLite database"},
	}
}
