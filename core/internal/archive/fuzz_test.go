package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRead reads anything: a package, or a tar that is packed here, so that the fuzzer gets past gzip's checksum. What is
// accepted is extracted as it was verified, and can be packed again into what is accepted, too.
func FuzzRead(f *testing.F) {
	var seed bytes.Buffer
	if err := Write(f.Context(), &seed, blogSources()); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes(), false)
	f.Add(tarOf(f, blog()), true)
	f.Add(tarOf(f, blog(regular("a/b", "x"), special(tar.TypeDir, "c/"), special(tar.TypeSymlink, "link"))), true)
	f.Add(tarOf(f, blog()[:1]), true)
	limits := Limits{Total: 1 << 20, File: 1 << 19, Entries: 100, Ratio: 100, Path: 200}
	f.Fuzz(func(t *testing.T, data []byte, isTar bool) {
		if isTar {
			var out bytes.Buffer
			w, _ := gzip.NewWriterLevel(&out, gzip.NoCompression) // the level is one that there is
			_, err := w.Write(data)
			require.NoError(t, errors.Join(err, w.Close()))
			data = out.Bytes()
		}
		verified, err := Verify(t.Context(), bytes.NewReader(data), Options{Limits: limits})
		extracted, dir, again := extract(t, data, Options{Limits: limits})
		if err != nil {
			require.Equal(t, code(t, err), code(t, again))
			return
		}
		require.NoError(t, again)
		require.Equal(t, verified.SHA256, extracted.SHA256)
		var sources []Source
		for _, file := range extracted.Files {
			sources = append(sources, Source{Name: file.Name, Executable: file.Executable, Path: dir + "/" + file.Path})
		}
		_, err = Verify(t.Context(), bytes.NewReader(pack(t, sources)), Options{})
		require.NoError(t, err)
		require.NoError(t, os.RemoveAll(dir))
	})
}
