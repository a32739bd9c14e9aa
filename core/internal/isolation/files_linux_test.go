package isolation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAProcessOpensNoOtherModulesFile: at each level that promises it, whatever way leads to the file.
func TestAProcessOpensNoOtherModulesFile(t *testing.T) {
	t.Parallel()
	for level, change := range map[Level]func(*abilities){
		Full:     func(*abilities) {},
		Landlock: func(a *abilities) { a.users, a.flags, a.mounts, a.groups = userRange{}, 0, false, nil },
	} {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			s, dir := sandbox(t, change)
			if s.host.Level() != level {
				t.Skip("this machine reaches level " + s.host.Level().String() + " only: run the tests as root, on a newer kernel")
			}
			folder := filepath.Join(dir, "modules", "other")
			require.NoError(t, os.MkdirAll(folder, 0o700))
			file := filepath.Join(folder, "other.db")
			for _, path := range []string{file, file + "-wal", filepath.Join(dir, "core.db"), filepath.Join(dir, "daemon.id")} {
				require.NoError(t, os.WriteFile(path, []byte("secret\n"), 0o644))
			}
			_, _, out := start(t, s, dir, strings.NewReplacer("FILE", file, "DIR", dir).Replace(`cd "$TMPDIR" 2>/dev/null
for f in FILE FILE-wal DIR/core.db DIR/daemon.id /proc/self/root/FILE; do
  cat $f 2>/dev/null; ln -s $f link 2>/dev/null; cat link 2>/dev/null; rm -f link
  ln $f hard 2>/dev/null; cat hard 2>/dev/null; rm -f hard
  (echo forged >> $f) 2>/dev/null; mv $f mine 2>/dev/null; rm -f $f 2>/dev/null
done
ls DIR/modules/other 2>/dev/null
echo end`))
			said, err := out.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "end\n", said, "nothing else can be read")
			for _, path := range []string{file, file + "-wal", filepath.Join(dir, "core.db"), filepath.Join(dir, "daemon.id")} {
				content, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, "secret\n", string(content), path)
			}
		})
	}
}
