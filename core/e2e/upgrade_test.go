package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// nextBlog is a binary of a later version of the blog, with one more route. It is built once, when a test wants it.
var nextBlog = sync.OnceValues(func() (string, error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(root, "plugins/blog/main.go"): filepath.Join(root, "core/e2e/overlays/blog.go.txt"),
	}})
	if err != nil {
		return "", err
	}
	file, out := filepath.Join(built, "blog.json"), filepath.Join(built, "nextblog")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-overlay", file, "-o", out, ".")
	cmd.Dir, cmd.Env = filepath.Join(root, "plugins/blog"), append(os.Environ(), "CGO_ENABLED=0")
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: string(output), Err: err}
	}
	return out, nil
})

// putBlog puts a version of the blog into the platform's folder: 0.3.0 is the one that is built with the others. Files are what
// says how the next ones misbehave.
func (p *platform) putBlog(version, runtime string, files ...string) {
	p.t.Helper()
	blogVersion{version, runtime, files}.put(p.t, filepath.Join(p.dir, "modules", "blog"))
}

// blogVersion is the blog with more of a manifest; see putBlog.
type blogVersion struct {
	number, runtime string
	files           []string
}

func (v blogVersion) put(t *testing.T, folder string) {
	t.Helper()
	binary, extra := filepath.Join(built, "modules", "blog", "bin", "blog"), ""
	if v.number != "0.3.0" {
		next, err := nextBlog()
		require.NoError(t, err)
		binary, extra = next, "routes:\n  - { id: release, method: GET, path: /release, access: public }\n"
	}
	manifest, err := os.ReadFile(filepath.Join(built, "modules", "blog", "module.yaml"))
	require.NoError(t, err)
	text := strings.Replace(string(manifest), "version: 0.3.0", "version: "+v.number, 1)
	if extra != "" {
		before, after, _ := strings.Cut(text, "routes:")
		_, after, _ = strings.Cut(after, "\n")
		text = before + extra + after
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder, "module.yaml"), []byte(text+v.runtime), 0o644))
	target := filepath.Join(folder, "bin", "blog")
	require.NoError(t, os.Remove(target)) // as a build does: what runs keeps its file
	require.NoError(t, os.Link(binary, target))
	for _, file := range []string{"ill", "hold"} {
		_ = os.Remove(filepath.Join(folder, file))
	}
	for _, file := range v.files {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), nil, 0o644))
	}
}

// runsBlog says whether the platform has this version of the blog, processes, routes and all.
func (p *platform) runsBlog(version string) {
	p.t.Helper()
	view := p.module("blog")
	require.Equal(p.t, version, view.Version)
	require.Equal(p.t, "ready", view.State)
	status := http.StatusOK
	if version == "0.3.0" {
		status = http.StatusNotFound
	}
	require.Equal(p.t, status, p.do(http.MethodGet, "/api/v1/blog/release", "", "").status)
}

// blogUnderLoad starts a platform on which somebody reads a post all the time.
func blogUnderLoad(t *testing.T, runtime string) (*platform, *load) {
	t.Helper()
	p := &platform{t: t, dir: newDir(t, "billing", "blog")}
	p.putBlog("0.3.0", runtime)
	p = launch(t, p.dir, options{env: manyRestarts})
	p.awaitReady()
	return p, p.loadBlog()
}

// loadBlog begins to read a post all the time.
func (p *platform) loadBlog() *load {
	p.t.Helper()
	token := p.token("blog.*")
	var post struct{ ID string }
	p.do(http.MethodPost, "/api/v1/blog/posts", token, `{"title":"First","body":"It works."}`).decode(p.t, &post)
	l := p.load("/api/v1/blog/posts/"+post.ID, "Authorization: Bearer "+token)
	p.await("load on the module", func() bool { return l.served.Load() > loadRate/5 || l.failed.Load() > 0 })
	return l
}

// TestUpgradeG7 changes between two versions of a module under load, and then to one that does not come up.
func TestUpgradeG7(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	upgrades := count(5, 20)
	report(t, proof{"G7", "upgrades under 500 GETs a second, none failed", upgrades}, nil)
	p, l := blogUnderLoad(t, "")
	versions := []string{"0.3.0", "0.3.1"}
	for n := range upgrades {
		served := l.served.Load()
		p.putBlog(versions[(n+1)%2], "")
		p.cli("module", "restart", "blog")
		p.runsBlog(versions[(n+1)%2])
		p.await("load on the module", func() bool { return l.served.Load() > served+loadRate/5 || l.failed.Load() > 0 })
		require.Zero(t, l.failed.Load(), "upgrade %d", n+1)
	}
	p.putBlog("0.3.1", "")
	p.cli("reload")
	before := p.pid("blog")

	p.putBlog("0.3.2", "", "ill")
	_, said, code := p.tryCLI("module", "restart", "blog")
	require.Equal(t, 1, code)
	require.Contains(t, said, "no disk space left")
	require.Contains(t, said, "0.3.1 goes on")
	require.Contains(t, said, "fix: ")
	p.runsBlog("0.3.1")
	require.Equal(t, before, p.pid("blog"))
	notTaken := p.module("blog").NotTaken
	require.NotNil(t, notTaken)
	require.Equal(t, "0.3.2", notTaken.Version)
	require.Contains(t, notTaken.Reason, "no disk space left")
	require.Contains(t, p.cli("status"), "no disk space left")
	require.Contains(t, p.cli("audit", "search", "--action", "module.restart", "-o", "json"), "no disk space left")
	l.end()
	require.Zero(t, l.failed.Load(), "of %d", l.served.Load())
}

// TestUpgradeExclusive: never two versions at once, and callers wait.
func TestUpgradeExclusive(t *testing.T) {
	t.Parallel()
	p, l := blogUnderLoad(t, "runtime: { upgrade: exclusive }\n")
	for _, version := range []string{"0.3.1", "0.3.0"} {
		p.putBlog(version, "runtime: { upgrade: exclusive }\n")
		p.cli("module", "restart", "blog")
		p.runsBlog(version)
		require.Zero(t, l.failed.Load())
	}
	before := p.pid("blog")

	p.putBlog("0.3.2", "runtime: { upgrade: exclusive }\n", "ill")
	_, said, code := p.tryCLI("module", "restart", "blog")
	require.Equal(t, 1, code)
	require.Contains(t, said, "no disk space left")
	p.runsBlog("0.3.0")
	require.NotEqual(t, before, p.pid("blog"), "it was started again, though its file is gone")
	l.end()
	require.Zero(t, l.failed.Load(), "of %d", l.served.Load())
}

// upgrading begins an upgrade that waits in its Init, and returns the new process and what the command will say.
func (p *platform) upgrading(version string) (pid int, ended <-chan string) {
	p.t.Helper()
	old := p.pid("blog")
	p.putBlog(version, "", "hold")
	said := make(chan string, 1)
	go func() {
		_, stderr, _ := p.tryCLI("module", "restart", "blog")
		said <- stderr
	}()
	next, err := nextBlog()
	require.NoError(p.t, err)
	p.await("the new process", func() bool {
		for _, found := range below(p.t, filepath.Join(p.dir, "modules", "blog")) {
			if found != old && sameContent(found, next) {
				pid = found
			}
		}
		waiting, err := filepath.Glob(filepath.Join(p.dir, "data", "run", "*", "starting"))
		return pid != 0 && err == nil && len(waiting) > 0
	})
	return pid, said
}

func sameContent(pid int, path string) bool {
	running, err := os.ReadFile(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	wanted, err := os.ReadFile(path)
	return err == nil && bytes.Equal(running, wanted)
}

// TestACrashDuringAnUpgrade kills each of the two, at each moment that there is.
func TestACrashDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	p, l := blogUnderLoad(t, "")
	hold := filepath.Join(p.dir, "modules", "blog", "hold")
	before := p.pid("blog")

	next, said := p.upgrading("0.3.1")
	require.NoError(t, syscall.Kill(next, syscall.SIGKILL))
	require.Contains(t, <-said, "0.3.0 goes on")
	p.runsBlog("0.3.0")
	require.Equal(t, before, p.pid("blog"))

	next, said = p.upgrading("0.3.1")
	require.NoError(t, syscall.Kill(before, syscall.SIGKILL))
	p.await("the old version to be back, though its file is gone", func() bool {
		view := p.module("blog")
		return view.State == "ready" && view.Version == "0.3.0" && view.Instances[0].PID != before
	})
	p.runsBlog("0.3.0")
	require.NoError(t, os.Remove(hold))
	require.Contains(t, <-said, "has been restarted")
	p.runsBlog("0.3.1")
	require.Equal(t, next, p.pid("blog"))

	require.NoError(t, syscall.Kill(next, syscall.SIGKILL))
	p.await("the new version to be back", func() bool {
		view := p.module("blog")
		return view.State == "ready" && view.Instances[0].PID != next
	})
	p.runsBlog("0.3.1")
	l.end()
	require.Zero(t, l.failed.Load(), "of %d", l.served.Load())
}
