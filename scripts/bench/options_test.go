package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/scripts/bench/internal/contestant"
	"github.com/platformd/platformd/scripts/bench/internal/scenario"
)

func TestParse(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"--rounds", "2", "--only", "nginx,link", "--scenarios", "mib", "-o", "json"}, &strings.Builder{})
	require.NoError(t, err)
	require.Equal(t, 2, o.rounds)
	require.Equal(t, 4*time.Second, o.duration)
	require.True(t, o.json)
	require.Len(t, o.contestants, 2)
	require.Equal(t, "link", o.contestants[0].Name, "in the order of the report")
	require.Equal(t, "mib", o.scenarios[0].ID)
	require.Equal(t, `make bench ARGS="--rounds 2 --only nginx,link --scenarios mib -o json"`, o.command)
	require.FileExists(t, o.root+"/go.work")

	quick, err := parse([]string{"--quick"}, &strings.Builder{})
	require.NoError(t, err)
	require.Equal(t, 1, quick.rounds)
	require.Equal(t, time.Second, quick.duration)
	require.Zero(t, quick.warmup)
	require.Len(t, quick.contestants, len(contestant.All()))
	require.Len(t, quick.scenarios, len(scenario.All()))
}

func TestMatch(t *testing.T) {
	t.Parallel()
	for args, want := range map[string][2]string{
		"--scenarios list":                                    {"gorm-sqlite,blog-sqlite,gorm-postgres,blog-postgres", "list"},
		"--scenarios access":                                  {"public,guarded", "access"},
		"--scenarios call1,call64":                            {"grpc-go,calls", "call1,call64"},
		"--scenarios ws --only gin,grpc":                      {"gin", "ws"},
		"--only link,blog-sqlite --scenarios get1,sse,create": {"link,blog-sqlite", "get1,sse,create"},
		"--only grpc --scenarios list,ws,post":                {"grpc", "post"},
		"--only nginx --scenarios create":                     {"", ""},
	} {
		o, err := parse(strings.Fields(args), &strings.Builder{})
		require.NoError(t, err)
		o.match()
		require.Equal(t, want, [2]string{names(o.contestants, contestantName), names(o.scenarios, scenarioID)}, args)
	}
}

func TestParseSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--only gim":        `there is no "gim" (fix: choose from gin,link,`,
		"--scenarios get2":  `there is no "get2" (fix: choose from get1,get16,`,
		"--duration 1500ms": "wrk cannot load for 1.5s (fix:",
		"--warmup 10ms":     "wrk cannot warm up for 10ms (fix:",
		"--rounds 0":        "0 rounds cannot be run (fix:",
		"-o yaml":           `unknown format "yaml" (fix:`,
		"run":               `unknown argument "run" (fix:`,
	} {
		var stderr strings.Builder
		_, err := parse(strings.Fields(args), &stderr)
		require.ErrorIs(t, err, errUsage, args)
		require.Contains(t, stderr.String(), want)
	}
}
