package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBackupAndRestore backs a platform up while it is written to, and makes another one of the backup.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, backend string) {
		p := launch(t, newDirOn(t, backend, "billing", "blog", "clerk"), options{})
		p.awaitReady()
		token := p.token("blog.*", "billing.*")
		titles := make(map[string]bool)
		for i := range 20 {
			titles[p.post(token, fmt.Sprintf("before %d", i))] = true
		}
		p.requireMigratedOnce("clerk")
		pid := p.pid("blog")
		file := filepath.Join(p.dir, "backup.tar")
		var writing sync.WaitGroup
		var enough atomic.Bool
		writing.Go(func() {
			for i := 0; !enough.Load(); i++ {
				p.post(token, fmt.Sprintf("meanwhile %d", i))
			}
		})
		out := p.cli("db", "backup", "-o", file)
		enough.Store(true)
		writing.Wait()
		require.Regexp(t, `modules +billing, blog, clerk\n`, out)
		require.Equal(t, pid, p.pid("blog"), "nobody was disturbed")
		p.post(token, "after")
		_, errOut, code := p.tryCLI("db", "restore", file, "--replace")
		require.Equal(t, 8, code, errOut)

		restored := &platform{t: t, dir: newDirOn(t, backend, "billing", "blog", "clerk")}
		restored.env = append(cleanEnv(), databaseOf(restored.dir)...)
		restored.cli("db", "restore", file)
		restored = launch(t, restored.dir, options{})
		restored.awaitReady()
		for _, title := range restored.posts(token) {
			require.NotEqual(t, "after", title)
			delete(titles, title)
		}
		require.Empty(t, titles, "every post from before the backup is back")
		restored.requireMigratedOnce("clerk")
		restored.post(token, "it goes on")
		if backend == onSQLite {
			restored.requireOwnFile("blog")
		}
	})
}

// post writes a post and returns its title.
func (p *platform) post(token, title string) string {
	p.t.Helper()
	got := p.do(http.MethodPost, "/api/v1/blog/posts", token, fmt.Sprintf(`{"title":%q,"body":"text"}`, title))
	require.Equal(p.t, http.StatusCreated, got.status, got.body)
	return title
}

// posts are the titles of all posts.
func (p *platform) posts(token string) (titles []string) {
	p.t.Helper()
	for cursor := ""; ; {
		got := p.do(http.MethodGet, "/api/v1/blog/posts?limit=100"+cursor, token, "")
		require.Equal(p.t, http.StatusOK, got.status, got.body)
		var page struct {
			Items []struct {
				Title string `json:"title"`
			} `json:"items"`
			Next *string `json:"next"`
		}
		got.decode(p.t, &page)
		for _, post := range page.Items {
			titles = append(titles, post.Title)
		}
		if page.Next == nil {
			return titles
		}
		cursor = "&cursor=" + *page.Next
	}
}

// requireOwnFile checks that a module's file is that of the user its process runs as.
func (p *platform) requireOwnFile(module string) {
	p.t.Helper()
	process, err := os.Stat(fmt.Sprintf("/proc/%d", p.pid(module)))
	require.NoError(p.t, err)
	file, err := os.Stat(filepath.Join(p.dir, "data", "modules", module, module+".db"))
	require.NoError(p.t, err)
	owner := func(info os.FileInfo) uint32 {
		return info.Sys().(*syscall.Stat_t).Uid //nolint:errcheck,forcetypeassert // Linux has it
	}
	require.Equal(p.t, owner(process), owner(file))
	require.Equal(p.t, os.FileMode(0o600), file.Mode().Perm())
}
