package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/admin"
)

// packed are the packages that have been made: each is made once, as that takes a while.
var packed = struct {
	sync.Mutex
	files map[string]string
}{files: map[string]string{}}

// pack makes a package of a module's folder, which lay fills.
func pack(t *testing.T, module, name string, lay func(folder string)) string {
	t.Helper()
	packed.Lock()
	defer packed.Unlock()
	if packed.files[name] == "" {
		folder, out := filepath.Join(t.TempDir(), module), filepath.Join(built, "packages", name+".tar.gz")
		require.NoError(t, os.MkdirAll(filepath.Dir(out), 0o755))
		lay(folder)
		(&platform{t: t, dir: t.TempDir()}).cli("pack", folder, "-o", out)
		packed.files[name] = out
	}
	own := filepath.Join(t.TempDir(), name+".tar.gz")
	require.NoError(t, os.Link(packed.files[name], own))
	return own
}

// packBlog makes a package of a version of the blog, signed with a key. Extra is more of its manifest, and files; see putBlog.
func packBlog(t *testing.T, key, version string, extra ...string) string {
	t.Helper()
	blog := blogVersion{number: version}
	if len(extra) > 0 {
		blog.runtime, blog.files = extra[0], extra[1:]
	}
	out := pack(t, "blog", fmt.Sprintf("blog-%s-%x", version, strings.Join(extra, ",")), func(folder string) {
		require.NoError(t, copyModule(filepath.Join(built, "modules", "blog"), folder))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "bin", "blog"), nil, 0o755))
		blog.put(t, folder)
	})
	(&platform{t: t, dir: t.TempDir()}).cli("sign", out, "--key", key)
	return out
}

// trusting starts a platform that trusts a key.
func trusting(t *testing.T, modules ...string) (p *platform, key string) {
	t.Helper()
	dir := newDir(t, modules...)
	key = filepath.Join(dir, "key")
	before := &platform{t: t, dir: dir}
	before.cli("keygen", "-o", key, "--no-passphrase")
	before.cli("trust", "add", key+".pub")
	p = launch(t, dir, options{env: manyRestarts})
	p.awaitReady()
	return p, key
}

// TestInstallG7 upgrades a package under load, goes back, and meets a version that does not come up.
func TestInstallG7(t *testing.T) {
	if !full() {
		t.Parallel()
	}
	upgrades := count(3, 20)
	report(t, proof{"G7", "upgrades of a package under 500 GETs a second, none failed", upgrades}, nil)
	p, key := trusting(t, "billing")
	files := []string{packBlog(t, key, "0.3.0"), packBlog(t, key, "0.3.1")}
	p.cli("install", files[0], "-y")
	l := p.loadBlog()
	for n := range upgrades {
		served := l.served.Load()
		if n%2 == 0 {
			p.cli("upgrade", files[1], "-y")
		} else {
			p.cli("rollback", "blog", "-y")
		}
		p.runsBlog([]string{"0.3.1", "0.3.0"}[n%2])
		p.await("load on the module", func() bool { return l.served.Load() > served+loadRate/5 || l.failed.Load() > 0 })
		require.Zero(t, l.failed.Load(), "upgrade %d", n+1)
	}
	if upgrades%2 == 0 {
		p.cli("upgrade", files[1], "-y")
	}
	before := p.pid("blog")
	_, said, code := p.tryCLI("upgrade", packBlog(t, key, "0.3.2", "", "ill"), "-y")
	require.Equal(t, 1, code)
	require.Contains(t, said, "no disk space left")
	require.Contains(t, said, "0.3.1 goes on")
	p.runsBlog("0.3.1")
	require.Equal(t, before, p.pid("blog"))
	require.NoDirExists(t, filepath.Join(p.dir, "data", "store", "blog", "0.3.2"))
	l.end()
	require.Zero(t, l.failed.Load(), "of %d", l.served.Load())
}

// TestInstallPlanIsWhatIsDone compares what each change was to do with what it did.
func TestInstallPlanIsWhatIsDone(t *testing.T) {
	t.Parallel()
	p, key := trusting(t, "billing")
	packages := p.packages()
	apply := func(plan *admin.PackagePlan, change admin.PackageChange) {
		t.Helper()
		require.Nil(t, plan.Refused)
		outcome, err := packages.Apply(t.Context(), change)
		require.NoError(t, err)
		require.Equal(t, plan.Effect, outcome.Effect)
		require.NotEmpty(t, outcome.Effect.Modules)
	}
	for _, version := range []string{"0.3.0", "0.3.1"} {
		plan, change := p.stage(packBlog(t, key, version))
		apply(plan, change)
		p.runsBlog(version)
	}
	plan, change := p.stage(packScribe(t, 0))
	require.Len(t, plan.Effect.Migrations, 6)
	apply(plan, change)
	plan, change = p.stage(packScribe(t, 2))
	require.Equal(t, []string{"0100_more", "0101_more"}, plan.Effect.Migrations)
	apply(plan, change)
	for _, change := range []admin.PackageChange{
		{Act: admin.ActRollback, Module: "blog"}, {Act: admin.ActUninstall, Module: "scribe"},
		{Act: admin.ActUninstall, Module: "blog"},
	} {
		plan, err := packages.Plan(t.Context(), change)
		require.NoError(t, err)
		apply(plan, change)
	}
	require.Equal(t, http.StatusNotFound, p.do(http.MethodGet, "/api/v1/blog/posts", "", "").status)
}

// stage has a package looked at, and returns the change that would install it with all that it asks for.
func (p *platform) stage(file string) (*admin.PackagePlan, admin.PackageChange) {
	p.t.Helper()
	f, err := os.Open(file)
	require.NoError(p.t, err)
	defer f.Close()
	signature, _ := os.ReadFile(file + ".minisig")
	plan, err := p.packages().Stage(p.t.Context(), f, admin.StageOptions{Signature: signature, AllowUnsigned: true})
	require.NoError(p.t, err)
	change := admin.PackageChange{Act: admin.ActInstall, Staged: plan.Staged}
	for _, ask := range plan.Asks {
		change.Approve = append(change.Approve, ask.Grant)
	}
	return plan, change
}

// TestInstallRefuses what it must, with the exit code for it, and changes nothing.
func TestInstallRefuses(t *testing.T) {
	t.Parallel()
	p, key := trusting(t, "hello")
	unsatisfied := packBlog(t, key, "0.3.0")
	refused := func(code int, words string, args ...string) {
		t.Helper()
		_, said, exit := p.tryCLI(args...)
		require.Equal(t, code, exit, said)
		require.Contains(t, said, words)
		require.Contains(t, said, "fix: ")
		all, err := p.packages().List(t.Context())
		require.NoError(t, err)
		require.Len(t, all, len(p.installedNames()))
	}
	refused(1, "blog requires billing", "install", unsatisfied, "-y")

	scribe := packScribe(t, 1)
	refused(7, "is not signed", "install", scribe, "-y")
	p.cli("install", scribe, "-y", "--allow-unsigned")
	refused(1, "older", "install", packScribe(t, 0), "-y", "--allow-unsigned")

	content, err := os.ReadFile(scribe)
	require.NoError(t, err)
	bad := func(name string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(file, content, 0o600))
		return file
	}
	refused(7, "", "install", bad("short.tar.gz", content[:len(content)/2]), "-y", "--allow-unsigned")
	refused(7, "", "install", bad("long.tar.gz", append(content, "more"...)), "-y", "--allow-unsigned")
	signed := packBlog(t, key, "0.3.0")
	changed, err := os.ReadFile(signed)
	require.NoError(t, err)
	changed[len(changed)/2] ^= 1
	require.NoError(t, os.Remove(signed)) // it is everybody's
	require.NoError(t, os.WriteFile(signed, changed, 0o600))
	refused(7, "", "install", signed, "-y", "--allow-unsigned")
	stranger := filepath.Join(t.TempDir(), "key")
	p.cli("keygen", "-o", stranger, "--no-passphrase")
	refused(7, "", "install", packBlog(t, stranger, "0.3.0"), "-y", "--allow-unsigned")
	refused(1, "folder", "uninstall", "hello", "-y")
	refused(5, "nobody", "uninstall", "nobody", "-y")
}

func (p *platform) installedNames() (names []string) {
	entries, _ := os.ReadDir(filepath.Join(p.dir, "data", "store"))
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	return names
}

// TestInstallRequireSigned: with modules.requireSigned nothing runs that nobody has signed, or nobody who is trusted any more.
func TestInstallRequireSigned(t *testing.T) {
	t.Parallel()
	p, key := trusting(t, "hello")
	p.cli("install", packScribe(t, 0), "-y", "--allow-unsigned")
	p.stop()
	strict := launch(t, p.dir, options{config: "modules: { requireSigned: true }\n"})
	strict.awaitReady()
	for _, name := range []string{"hello", "scribe"} {
		require.Contains(t, strict.module(name).Reason, "requireSigned")
	}
	_, said, code := strict.tryCLI("install", packScribe(t, 1), "-y", "--allow-unsigned")
	require.Equal(t, 7, code, said)
	file := packScribe(t, 1)
	strict.cli("sign", file, "--key", key)
	strict.cli("install", file, "-y")
	require.Equal(t, "ready", strict.module("scribe").State)
	strict.cli("uninstall", "scribe", "-y")
	_, _, code = strict.tryCLI("uninstall", "scribe", "-y")
	require.Equal(t, 5, code)
}

// TestInstallGrants: what an upgrade asks for beyond what was approved of is not there until it is.
func TestInstallGrants(t *testing.T) {
	t.Parallel()
	p, key := trusting(t, "billing")
	p.cli("install", packBlog(t, key, "0.3.0"), "-y")
	// The next version asks for a variable of the environment, too.
	next := packBlog(t, key, "0.3.1", "runtime: { env: [LANGUAGE] }\n")
	p.cli("upgrade", next, "-y")
	all, err := p.packages().List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"env LANGUAGE"}, all[0].Pending)
	require.Contains(t, all[0].Grants, "database")
	p.cli("module", "approve", "blog", "-y")
	all, err = p.packages().List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all[0].Pending)
	require.Contains(t, all[0].Grants, "env LANGUAGE")
	p.runsBlog("0.3.1")
}

// TestInstallAndPurge: with its data a module leaves nothing, and a copy.
func TestInstallAndPurge(t *testing.T) {
	t.Parallel()
	p, key := trusting(t, "billing")
	p.cli("install", packBlog(t, key, "0.3.0"), "-y")
	token := p.token("blog.*")
	made := p.do(http.MethodPost, "/api/v1/blog/posts", token, `{"title":"First","body":"It works."}`)
	require.Equal(t, http.StatusCreated, made.status)
	copied := filepath.Join(p.dir, "blog.tar.gz")
	p.cli("uninstall", "blog", "-y", "--purge-data", "--export", copied)
	require.FileExists(t, copied)
	_, _, code := p.tryCLI("module", "data", "blog")
	require.Equal(t, 5, code)
	require.NoDirExists(t, filepath.Join(p.dir, "data", "modules", "blog"))
	require.Empty(t, p.installedNames())
	require.NoFileExists(t, filepath.Join(p.dir, "data", "store", "journal.json"))
}

// TestInstallWithoutADaemon: the next start runs what was installed, or not what was uninstalled.
func TestInstallWithoutADaemon(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"billing"}})
	p.stop()
	var plan admin.PackagePlan
	var outcome admin.PackageOutcome
	file := packScribe(t, 0)
	require.NoError(t, json.Unmarshal([]byte(p.cli("plan", file, "--allow-unsigned", "-o", "json")), &plan))
	require.NoError(t, json.Unmarshal([]byte(p.cli("install", file, "-y", "--allow-unsigned", "-o", "json")), &outcome))
	require.Equal(t, plan.Effect, outcome.Effect)
	require.Contains(t, outcome.Effect.Grants.Added, "database")
	p = p.again()
	require.Equal(t, scribeVersion(0), p.installed())
	p.stop()
	p.cli("uninstall", "scribe", "-y", "--purge-data", "--no-export")
	p = p.again()
	require.Empty(t, p.installed())
	_, _, code := p.tryCLI("module", "data", "scribe")
	require.Equal(t, 5, code)
}

// TestInstallTwoAtOnce: of two installations of one package, one is made, and the other finds that it is.
func TestInstallTwoAtOnce(t *testing.T) {
	t.Parallel()
	p, _ := trusting(t)
	file := packScribe(t, 0)
	codes := make(chan int, 2)
	for range 2 {
		go func() {
			_, said, code := p.tryCLI("install", file, "-y", "--allow-unsigned")
			if code != 0 && !strings.Contains(said, "installed already") {
				code = -1
			}
			codes <- code
		}()
	}
	require.ElementsMatch(t, []int{0, 1}, []int{<-codes, <-codes})
	require.Equal(t, scribeVersion(0), p.installed())
}
