package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/plugintest/echo"
)

// variantOf builds one of parrot's other binaries.
func variantOf(t *testing.T, variant string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "parrot")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.variant="+variant, "-o", path, "./parrot")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return path
}

// putParrot replaces parrot's binary, which may be running.
func putParrot(t *testing.T, dir, binary string) {
	t.Helper()
	content, err := os.ReadFile(binary)
	require.NoError(t, err)
	target := filepath.Join(dir, "modules/parrot/bin/parrot")
	require.NoError(t, os.WriteFile(target+".new", content, 0o755)) //nolint:gosec // it is to be executed
	require.NoError(t, os.Rename(target+".new", target))
}

const (
	noTell = "EchoService/Tell: parrot has no such method"
	noText = "EchoService/Ask: field google.protobuf.StringValue.value (number 1)"
)

// TestAnIncompatibleContract starts a provider that lacks a method and a field that its consumers were built to use: one that
// requires it does not start, one that can do without calls what fits, and everybody else serves.
func TestAnIncompatibleContract(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "hello", "parrot", "crier")
	rename(t, dir, [2]string{"crier", "casual"}, "modules: { parrot: \"*\" }", "optional: { parrot: \"*\" }")
	putParrot(t, dir, variantOf(t, "older"))
	p := launch(t, dir, options{})
	p.awaitReady()

	refused := p.module("crier")
	require.Equal(t, "failed", refused.State)
	for _, part := range []string{"crier", "parrot", noTell, noText, "of crier does not exist in parrot"} {
		require.Contains(t, refused.Reason, part)
	}
	require.Empty(t, refused.Instances)
	require.Contains(t, p.log.String(), "build crier against the .proto of that parrot, or install a parrot that fits")
	down := p.do(http.MethodPost, "/api/v1/crier/calls/parrot/Count", "", "x")
	require.Equal(t, http.StatusServiceUnavailable, down.status)
	require.NotContains(t, down.body, "EchoService", "that is for the operator")

	p.callsOnlyWhatFits("casual")
	require.Equal(t, http.StatusOK, p.do(http.MethodGet, "/api/v1/hello/greetings/x", "", "").status)
}

// callsOnlyWhatFits: of the older parrot's methods only Count is as the module knows it.
func (p *platform) callsOnlyWhatFits(module string) {
	p.t.Helper()
	for method, want := range map[string]string{echo.Tell: noTell, echo.Ask: noText} {
		told := p.cry("", "/"+module+"/calls/parrot/"+method, "x")
		require.Equal(p.t, "FailedPrecondition", told.Code, method)
		require.Contains(p.t, told.Error, want)
		require.Contains(p.t, told.Error, module+" was built to call another parrot")
	}
	told := p.cry("", "/"+module+"/calls/parrot/Count", "x")
	require.Equal(p.t, "OK", told.Code, told.Error)
}

// TestAProviderWithAnotherBinary restarts a provider with binaries that its consumers were not built for, or that do not serve
// what the manifest says: they are not let in, and the one before serves on, also after a crash.
func TestAProviderWithAnotherBinary(t *testing.T) {
	t.Parallel()
	dir := newDir(t, "parrot", "crier")
	p := launch(t, dir, options{env: []string{"PLATFORMD_SERVER_HOLDTIMEOUT=30s"}})
	p.awaitReady()
	require.Equal(t, "OK", p.cry("", "/crier/calls/parrot/Tell", "x").Code)

	running := p.pid("parrot")
	refused := func(variant string, why ...string) {
		t.Helper()
		putParrot(t, dir, variantOf(t, variant))
		_, said, code := p.tryCLI("module", "restart", "parrot")
		require.Equal(t, 1, code)
		for _, text := range why {
			require.Contains(t, said, text)
		}
		require.Equal(t, running, p.pid("parrot"), "the one before serves on")
		require.Equal(t, "OK", p.cry("", "/crier/calls/parrot/Tell", "x").Code)
	}
	refused("older", "crier was built to call another parrot", "EchoService/Tell: parrot has no such method")
	const missing = "platformd.echo.v1.EchoService is in module.yaml, but the binary does not serve it"
	const undeclared = "the binary serves platformd.other.v1.OtherService, which is not in module.yaml"
	refused("other", missing, undeclared)
	require.Contains(t, p.cli("module", "show", "parrot"), missing)

	require.NoError(t, syscall.Kill(running, syscall.SIGKILL))
	p.await("the one before to come back", func() bool {
		now := p.module("parrot")
		return now.State == "ready" && p.pid("parrot") != running
	})
	require.Equal(t, "OK", p.cry("", "/crier/calls/parrot/Tell", "x").Code)
	p.stop()

	p = launch(t, dir, options{}) // nothing but the other one is there
	p.await("the platform to answer", func() bool { _, _, code := p.tryCLI("module", "ls"); return code == 0 })
	p.await("parrot to fail", func() bool { return p.module("parrot").State == "failed" })
	require.Contains(t, p.module("parrot").Reason, missing)
	require.Contains(t, p.module("parrot").Reason, undeclared)
	told := p.cry("", "/crier/calls/parrot/Tell", "x")
	require.Equal(t, "Unavailable", told.Code)
	require.NotContains(t, told.Error, "OtherService", "why is for the operator")
}

// TestLastCalls: a module that stops can call others to its end, and what it has asked for is answered.
func TestLastCalls(t *testing.T) {
	t.Parallel()
	p := start(t, options{modules: []string{"parrot", "crier"}})
	heard := func() (texts []string) {
		for _, line := range strings.Split(p.cli("logs", "crier"), "\n") {
			if _, text, found := strings.Cut(line, "farewell"); found {
				texts = append(texts, text)
			}
		}
		return texts
	}
	p.cli("module", "restart", "crier")
	p.await("its last words", func() bool { return len(heard()) == 2 })
	require.Contains(t, heard()[0], "crier for module crier, draining")
	require.Contains(t, heard()[1], "crier for module crier, stopping")
	p.stop()
	require.Equal(t, 4, strings.Count(p.log.String(), "crier for module crier, "), "parrot outlives who depends on it")
}
