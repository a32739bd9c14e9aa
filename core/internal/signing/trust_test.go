package signing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

func TestTrust(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	trust := TrustIn(data)
	keys, err := trust.Keys()
	require.NoError(t, err, "nothing need be there")
	require.Empty(t, keys)
	require.NoDirExists(t, data)

	alice, bob := generate(t).Public(), generate(t).Public()
	for _, k := range []Key{alice, bob} {
		added, err := trust.Add(k)
		require.NoError(t, err)
		require.True(t, added)
	}
	added, err := trust.Add(alice)
	require.NoError(t, err)
	require.False(t, added, "once is enough")

	keys, err = trust.Keys()
	require.NoError(t, err)
	require.Len(t, keys, 2)
	require.Less(t, keys[0].ID, keys[1].ID)
	for _, k := range keys {
		require.WithinDuration(t, time.Now(), k.Added, time.Hour)
	}
	for path, want := range map[string]os.FileMode{"": 0o700, alice.ID + ".pub": 0o600} {
		info, err := os.Stat(filepath.Join(data, "trust", path))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), path)
	}
	entries, err := os.ReadDir(filepath.Join(data, "trust"))
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary file is left")

	require.NoError(t, trust.Remove(strings.ToLower(alice.ID)))
	keys, err = trust.Keys()
	require.NoError(t, err)
	require.Len(t, keys, 1)
	require.Equal(t, bob.ID, keys[0].ID)
	for _, id := range []string{alice.ID, "", "../../etc/passwd", "\x1b[2J", bob.ID + ".pub"} {
		require.Equal(t, "unknown_key", code(t, trust.Remove(id)), id)
	}
}

func TestATwinIsNotTrusted(t *testing.T) {
	t.Parallel()
	trust := TrustIn(t.TempDir())
	alice := generate(t)
	_, err := trust.Add(alice.Public())
	require.NoError(t, err)
	twin := twinOf(t, generate(t), alice)
	_, err = trust.Add(twin.Public())
	require.Equal(t, "key_id_taken", code(t, err))
	keys, err := trust.Keys()
	require.NoError(t, err)
	require.True(t, keys[0].public.Equal(alice.Public().public))
}

func TestManyAddAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	alice := generate(t).Public()
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			_, err := TrustIn(dir).Add(alice)
			return err
		})
	}
	require.NoError(t, all.Wait())
	keys, err := TrustIn(dir).Keys()
	require.NoError(t, err)
	require.Len(t, keys, 1)
}

// A folder or a key that somebody else could have written trusts nobody.
func TestSpoiltTrust(t *testing.T) {
	t.Parallel()
	alice := generate(t).Public()
	other := generate(t).Public()
	for name, c := range map[string]struct {
		spoil func(folder, file string) error
		code  string
	}{
		"folder of all":    {func(folder, _ string) error { return os.Chmod(folder, 0o777) }, "trust_not_private"},
		"file of all":      {func(_, file string) error { return os.Chmod(file, 0o666) }, "trust_spoilt"},
		"no key":           {func(_, file string) error { return os.WriteFile(file, []byte("x"), 0o600) }, "trust_spoilt"},
		"another key":      {func(_, file string) error { return os.WriteFile(file, other.Text(), 0o600) }, "trust_spoilt"},
		"another name":     {rename, "trust_spoilt"},
		"a link elsewhere": {relink, "trust_spoilt"},
	} {
		data := t.TempDir()
		_, err := TrustIn(data).Add(alice)
		require.NoError(t, err)
		folder := filepath.Join(data, "trust")
		require.NoError(t, c.spoil(folder, filepath.Join(folder, alice.ID+".pub")))
		_, err = TrustIn(data).Keys()
		require.Error(t, err, name)
		require.Equal(t, c.code, code(t, err), name)
	}
}

func rename(folder, file string) error { return os.Rename(file, filepath.Join(folder, "alice.pub")) }

func relink(folder, file string) error {
	elsewhere := filepath.Join(folder, "elsewhere")
	if err := os.Rename(file, elsewhere); err != nil {
		return err
	}
	return os.Symlink(elsewhere, file)
}
