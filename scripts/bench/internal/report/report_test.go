package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample is a run of two scenarios, in which one contestant cannot take part in the second, and of one with two baselines.
func sample() *Result {
	round := func(perSecond float64, errors int) Round {
		return Round{PerSecond: perSecond, P50Micros: 100, P99Micros: 2500, CPUMicros: 20.5, Errors: errors}
	}
	r := &Result{
		Command: `make bench ARGS="--rounds 3 --write"`, Date: "2026-01-02",
		Machine:  Machine{CPU: "Abacus", Cores: 2, MemoryMiB: 1024, Kernel: "Linux 6", System: "Debian", Go: "1.26"},
		Versions: []Version{{"nginx", "1.22"}},
		Settings: Settings{Rounds: 3, Duration: "4s", Warmup: "1s", Seed: 1},
		About:    []Introduction{{"gin", "the baseline"}, {"link", "ours"}, {"nginx", "a proxy"}},
		Note:     "Somebody is missing.",
		Scenarios: []Scenario{
			{ID: "get1", Title: "GET & go", Baseline: "gin", Rows: []Row{
				{Contestant: "gin", Against: "gin", Rounds: []Round{round(40_000, 0), round(10_000, 0), round(20_000, 1)}},
				{Contestant: "link", Against: "gin", Rounds: []Round{round(15_000, 2), round(16_000, 0), round(1, 3)}},
				{Contestant: "nginx", Against: "gin", Rounds: []Round{round(9_000, 0), round(11_000, 0)}},
			}},
			{ID: "sse", Title: "SSE", Baseline: "gin", Events: 1000, Rows: []Row{
				{Contestant: "gin", Against: "gin", Rounds: []Round{round(400, 0)}},
				{Contestant: "link", Against: "gin", Rounds: []Round{round(1000, 0)}},
				{Contestant: "nginx", Against: "gin", Rounds: []Round{}},
			}},
			{ID: "list", Title: "list", Baseline: "gin+gorm", Rows: []Row{
				{Contestant: "gorm-a", Against: "gorm-a", Rounds: []Round{round(500, 0)}},
				{Contestant: "blog-a", Against: "gorm-a", Rounds: []Round{round(400, 0)}},
				{Contestant: "gorm-postgres", Against: "gorm-postgres", Rounds: []Round{round(200, 0)}},
				{Contestant: "blog-postgres", Against: "gorm-postgres", Rounds: []Round{round(180, 0)}},
			}},
		},
		Footprint: &Footprint{
			StartMillis: []int64{90, 100, 80}, IdleModuleBytes: 15 << 20, IdleCoreBytes: 30 << 20, ThousandBytes: 5 << 20,
		},
	}
	r.Summarize()
	return r
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	r := sample()
	get, sse := r.Scenarios[0].Rows, r.Scenarios[1].Rows
	require.InDelta(t, 20_000, get[0].PerSecond, 0, "the middle of three")
	require.InDelta(t, 10_000, get[2].PerSecond, 0, "the mean of two")
	require.InDelta(t, 0.75, *get[1].Ratio, 1e-9)
	require.InDelta(t, 1, *get[0].Ratio, 0)
	require.Equal(t, 5, get[1].Errors, "errors add up")
	require.InDelta(t, 2.5, *sse[1].Ratio, 1e-9)
	require.InDelta(t, 1_000_000, sse[1].EventsPerSecond, 0)
	require.False(t, sse[2].Measured())
	require.Nil(t, sse[2].Ratio)
	list := r.Scenarios[2].Rows
	require.InDelta(t, 0.8, *list[1].Ratio, 1e-9, "to its own baseline")
	require.InDelta(t, 0.9, *list[3].Ratio, 1e-9, "to its own baseline")
	require.EqualValues(t, 90, r.Footprint.StartMedian)
}

func TestNoBaselineNoRatio(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Scenarios[0].Rows = r.Scenarios[0].Rows[1:]
	r.Summarize()
	require.Nil(t, r.Scenarios[0].Rows[0].Ratio)
	require.Equal(t, absent, r.Scenarios[0].Rows[0].ratio())
}

func TestSlowIsNotAbsent(t *testing.T) {
	t.Parallel()
	r := sample()
	r.Scenarios[0].Rows[1].Rounds = []Round{{}}
	r.Summarize()
	require.Equal(t, "0.00", r.Scenarios[0].Rows[1].ratio(), "it took part, but finished nothing")
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, sample().Table(&out))
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, "GET & go", lines[0])
	require.Equal(t, []string{"link", "15,000", "100µs", "2.5ms", "20.5", "5", "0.75"}, strings.Fields(lines[4]))
	var nginx []string
	for _, line := range lines[7:] {
		if strings.HasPrefix(strings.TrimSpace(line), "nginx") {
			nginx = strings.Fields(line)
		}
	}
	require.Equal(t, []string{"nginx", "–", "–", "–", "–", "–", "–", "–"}, nginx)
	require.Contains(t, out.String(), "\nSomebody is missing.\n")
	require.Contains(t, out.String(), "Start of a module, process to ready (median of 3): 90 ms")
}

func TestWrite(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "docs"), 0o700))
	require.NoError(t, sample().Write(root))
	page, err := os.ReadFile(filepath.Join(root, "docs", "benchmarks.md"))
	require.NoError(t, err)
	for _, want := range []string{
		"\nmake bench ARGS=\"--rounds 3 --write\"\n", "](benchmarks.svg)", "2026-01-02", "| CPU | Abacus |", "nginx 1.22", "Linux 6",
		"| GET & go | 1.00 | 0.75 | 0.50 |", "| SSE | 1.00 | 2.50 | – |", "| link | 15,000 | 100µs | 2.5ms | 20.5 | 5 | 0.75 |",
		"3 rounds of 4s (after 1s of warm-up)", "5.0 MiB", " Somebody is missing.\n",
		"\n\n| ratio to gin | gin | link | nginx |\n", "\n\n| ratio to gin+gorm | gorm-a | blog-a | gorm-postgres | blog-postgres |\n",
		"| list | 1.00 | 0.80 | 1.00 | 0.90 |\n\nA ratio", "| SSE | 1.00 | 2.50 | – |\n\n| ratio",
	} {
		require.Contains(t, string(page), want)
	}
	require.NotContains(t, string(page), "<no value>")

	plot, err := os.ReadFile(filepath.Join(root, "docs", "benchmarks.svg"))
	require.NoError(t, err)
	require.Equal(t, 9+1, elements(t, plot)["rect"], "a bar for whoever was measured, and the page")
	require.Equal(t, 3+3+4, elements(t, plot)["line"], "a piece of the baseline for each row")
	require.Regexp(t, `class="link" x="84" [^>]*/><text[^>]*>0\.90<.*>180/s<`, string(plot), "its name has room")
	require.Regexp(t, `>link<.*>0\.75<.*>15,000/s<`, string(plot))
	require.Regexp(t, `>nginx<.*>–<.*>–<`, string(plot))
	require.Contains(t, string(plot), "GET &amp; go")
}

// elements counts the elements of an XML document by name; one that is not well-formed fails the test.
func elements(t *testing.T, document []byte) map[string]int {
	t.Helper()
	count := map[string]int{}
	for decoder := xml.NewDecoder(bytes.NewReader(document)); ; {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		require.NoError(t, err)
		if start, ok := token.(xml.StartElement); ok {
			count[start.Name.Local]++
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", 4.26: "4.3", 99.9: "99.9", 100.4: "100", 999: "999", 1000: "1,000", 1234567: "1,234,567",
	} {
		require.Equal(t, want, number(v))
	}
}
