package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/event"
)

const script = "#!/bin/sh\nexit 0\n"

// write writes a file and the folders above it.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
}

func manifestText(name, version, rest string) string {
	return "apiVersion: platformd/v1\nname: " + name + "\nversion: " + version + "\n" + rest
}

// install puts a module into dir that could run. what is its name and its version, rest the end of its manifest.
func install(t *testing.T, dir, what, rest string) string {
	t.Helper()
	name, version, _ := strings.Cut(what, " ")
	folder := filepath.Join(dir, name)
	write(t, filepath.Join(folder, "module.yaml"), manifestText(name, version, rest), 0o644)
	write(t, filepath.Join(folder, "bin", name), script, 0o755)
	return folder
}

func requires(lines ...string) string {
	return "requires:\n  modules:\n    " + strings.Join(lines, "\n    ") + "\n"
}

func scan(t *testing.T, dir string) *Catalog {
	t.Helper()
	type result struct {
		c   *Catalog
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := Scan(Options{Dir: dir, PlatformVersion: "0.1.0"})
		done <- result{c, err}
	}()
	select {
	case r := <-done:
		require.NoError(t, r.err)
		return r.c
	case <-time.After(10 * time.Second):
		require.FailNow(t, "Scan hangs")
		return nil
	}
}

func names(levels [][]*Module) [][]string {
	var all [][]string
	for _, level := range levels {
		var some []string
		for _, m := range level {
			some = append(some, m.Manifest.Name)
		}
		all = append(all, some)
	}
	return all
}

func TestScan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "billing 0.2.5", "requires: {platform: \">=0.1\"}\n")
	blog := install(t, dir, "blog 0.3.0", requires(`billing: "^0.2"`)+"config: {schema: config.schema.json}\n")
	write(t, filepath.Join(blog, "config.schema.json"), `{"type": "object"}`, 0o644)
	install(t, dir, "hello 0.1.0", "requires: {optional: {blog: \"*\"}}\n")

	c := scan(t, dir)
	require.Empty(t, c.Problems)
	require.Empty(t, c.Warnings)
	require.Equal(t, [][]string{{"billing"}, {"blog"}, {"hello"}}, names(c.Levels()))
	require.Len(t, c.Modules, 3)

	m := c.Get("blog")
	sum := sha256.Sum256([]byte(script))
	root, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	require.Equal(t, "0.3.0", m.Manifest.Version)
	require.Equal(t, blog, m.Dir)
	require.Equal(t, filepath.Join(root, "blog", "bin", "blog"), m.Executable)
	require.Equal(t, hex.EncodeToString(sum[:]), m.SHA256)
	require.JSONEq(t, `{"type": "object"}`, string(m.ConfigSchema))
	require.Equal(t, []string{"billing"}, m.After)
	require.NoError(t, m.Held)
	require.Nil(t, c.Get("nobody"))
	require.Equal(t, []string{"blog"}, c.Dependents("billing"))
	require.Empty(t, c.Dependents("blog"), "optional ones do not count")
}

func TestScanOfNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Empty(t, scan(t, filepath.Join(dir, "absent")).Modules)
	require.Empty(t, scan(t, dir).Levels())

	write(t, filepath.Join(dir, "README.md"), "text", 0o644)
	write(t, filepath.Join(dir, "notes", "todo.txt"), "text", 0o644)
	write(t, filepath.Join(dir, ".git", "module.yaml"), "not: a manifest", 0o644)
	require.NoError(t, os.Symlink(filepath.Join(dir, "README.md"), filepath.Join(dir, "link")))
	c := scan(t, dir)
	require.Empty(t, c.Modules)
	require.Empty(t, c.Problems)
}

func TestScanOfAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "modules")
	write(t, path, "", 0o644)
	_, err := Scan(Options{Dir: path})
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "modules_dir_unusable", e.Code)
	require.NotEmpty(t, e.Fix)
}

func TestScanWorksFromARelativePath(t *testing.T) {
	dir := t.TempDir()
	install(t, filepath.Join(dir, "modules"), "blog 0.3.0", "")
	t.Chdir(dir)
	m := scan(t, "modules").Get("blog")
	require.Equal(t, filepath.Join("modules", "blog"), m.Dir)
	require.True(t, filepath.IsAbs(m.Executable))
}

func TestLinksInsideAreAllowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blog := install(t, dir, "blog 0.3.0", "")
	require.NoError(t, os.Rename(filepath.Join(blog, "bin", "blog"), filepath.Join(blog, "bin", "blog-0.3.0")))
	link(t, "blog-0.3.0", filepath.Join(blog, "bin", "blog"))
	require.NoError(t, os.Rename(filepath.Join(blog, "module.yaml"), filepath.Join(blog, "blog.yaml")))
	link(t, "blog.yaml", filepath.Join(blog, "module.yaml"))
	outer := filepath.Join(t.TempDir(), "modules")
	link(t, dir, outer)

	c := scan(t, outer)
	require.Empty(t, c.Problems)
	require.Equal(t, "blog-0.3.0", filepath.Base(c.Get("blog").Executable))
}

func TestAllClaimantsOfANameAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "blog 0.3.0", "")
	copied := filepath.Join(dir, "blog2")
	write(t, filepath.Join(copied, "module.yaml"), manifestText("blog", "0.2.0", ""), 0o644)
	link(t, filepath.Join(dir, "blog"), filepath.Join(dir, "zz"))
	install(t, dir, "shop 1.0.0", requires(`blog: "*"`))

	c := scan(t, dir)
	require.Len(t, c.Problems, 3)
	for i, folder := range []string{"blog", "blog2", "zz"} {
		require.Equal(t, "blog", c.Problems[i].Name)
		require.Equal(t, filepath.Join(dir, folder), c.Problems[i].Dir)
		require.Equal(t, "name_taken", code(t, c.Problems[i].Err))
		require.ErrorContains(t, c.Problems[i].Err, "3 folders claim the name blog")
		require.ErrorContains(t, c.Problems[i].Err, copied)
	}
	require.Equal(t, "dependency_refused", code(t, c.Get("shop").Held))
}

func TestTwoClaimants(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "blog 0.3.0", "")
	link(t, filepath.Join(dir, "blog"), filepath.Join(dir, "alias"))
	c := scan(t, dir)
	require.Empty(t, c.Modules)
	require.Equal(t, "name_taken", code(t, c.Problems[0].Err))
	require.Equal(t, "name_taken", code(t, c.Problems[1].Err))
}

func TestBothFilesAreComplainedAbout(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blog := install(t, dir, "blog 0.3.0", "config: {schema: absent.json}\n")
	require.NoError(t, os.Remove(filepath.Join(blog, "bin", "blog")))
	err := scan(t, dir).Problems[0].Err
	require.ErrorContains(t, err, "bin/blog is not there")
	require.ErrorContains(t, err, "absent.json")
}

func TestHeldModulesAreListedButNotStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "a 1.0.0", "") // no valid name: one letter
	install(t, dir, "aa 1.0.0", requires(`bb: "*"`))
	install(t, dir, "bb 1.0.0", requires(`cc: "*"`))
	install(t, dir, "cc 1.0.0", requires(`aa: "*"`))
	install(t, dir, "dd 1.0.0", "requires: {platform: \">=0.2\"}\n")
	install(t, dir, "ee 1.0.0", requires(`dd: "*"`))
	install(t, dir, "ff 1.0.0", "requires: {optional: {gg: ^2}}\n")
	install(t, dir, "gg 1.0.0", "")

	c := scan(t, dir)
	require.Len(t, c.Problems, 1)
	require.Equal(t, [][]string{{"ff", "gg"}}, names(c.Levels()))
	for _, name := range []string{"aa", "bb", "cc"} {
		require.EqualError(t, c.Get(name).Held, (&CycleError{Path: []string{"aa", "bb", "cc", "aa"}}).Error())
	}
	require.Equal(t, []string{"bb", "cc"}, c.Dependents("aa"), "in a circle, the others")
	require.ErrorContains(t, c.Get("dd").Held, "dd 1.0.0 requires platformd >=0.2; this is 0.1.0")
	require.ErrorContains(t, c.Get("ee").Held, "(ee → dd)")
	require.Len(t, c.Warnings, 1)
	require.Equal(t, "ff", c.Warnings[0].Name)
	require.Equal(t, "optional_incompatible", code(t, c.Warnings[0].Err))
}

func TestPlatformIsNotComparedUnlessKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "blog 1.0.0", "requires: {platform: \">=99\"}\n")
	c, err := Scan(Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, c.Get("blog").Held)
	c, err = Scan(Options{Dir: dir, PlatformVersion: "99.0.0-rc.1"})
	require.NoError(t, err)
	require.NoError(t, c.Get("blog").Held, "a prerelease suffix is ignored")
}

func TestRefusePlansAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	install(t, dir, "billing 0.2.0", "")
	install(t, dir, "blog 0.3.0", requires(`billing: "^0.2"`))
	install(t, dir, "hello 0.1.0", "requires: {optional: {billing: \"*\"}}\n")
	install(t, dir, "shop 0.1.0", requires(`blog: "*"`))
	install(t, dir, "zoo 0.1.0", "requires: {optional: {hello: ^9}}\n")
	c := scan(t, dir)
	require.Equal(t, []string{"blog", "shop"}, c.Dependents("billing"))
	require.Equal(t, [][]string{{"billing", "zoo"}, {"blog", "hello"}, {"shop"}}, names(c.Levels()))

	c.Refuse("nobody", fmt.Errorf("no reason"))
	require.Len(t, c.Modules, 5)
	c.Refuse("billing", &Error{Code: "disabled", Message: "billing is disabled", Fix: "enable it"})
	require.Equal(t, [][]string{{"hello", "zoo"}}, names(c.Levels()))
	require.Len(t, c.Warnings, 1, "that of zoo, once")
	require.Nil(t, c.Get("billing"))
	require.Equal(t, "billing", c.Problems[0].Name)
	require.EqualError(t, c.Get("blog").Held, "blog requires billing, which is refused: billing is disabled\nfix: enable it")
	require.EqualError(t, c.Get("shop").Held,
		"shop requires blog, which is held (shop → blog → billing): blog requires billing, which is refused: billing is disabled\n"+
			"fix: enable it")
	require.Empty(t, c.Get("hello").After)
	require.Equal(t, []string{"blog", "shop"}, c.Dependents("billing"))

	c.Refuse("shop", errors.New("migration failed"))
	c.Refuse("blog", errors.New("migration failed"))
	for i, name := range []string{"billing", "blog", "shop"} {
		require.Equal(t, name, c.Problems[i].Name)
	}
}

func TestWhatAModulePublishes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	blog := install(t, dir, "blog 0.3.0", "events: {publishes: [{type: blog.post.created, version: 1, schema: a.json}]}\n")
	write(t, filepath.Join(blog, "a.json"), `{"required": ["id"]}`, 0o644)
	install(t, dir, "hello 0.1.0", "")
	c := scan(t, dir)
	require.Empty(t, c.Problems)
	post := event.Event{Type: "blog.post.created", Version: 1, Data: []byte(`{"id":1}`)}
	admitted, err := c.Get("blog").Publishing.Admit(post, "trace")
	require.NoError(t, err)
	require.Equal(t, "/modules/blog", admitted.Source)
	post.Data = []byte("{}")
	_, err = c.Get("blog").Publishing.Admit(post, "trace")
	require.ErrorContains(t, err, `missing properties: ["id"]`)
	_, err = c.Get("hello").Publishing.Admit(post, "trace")
	require.ErrorContains(t, err, "module hello may not publish blog.post.created (fix: ")
}
