// Package authzbench asks casbin what core/internal/authz is asked, and expects the same answers. It has no code but its
// benchmarks, which scripts/bench-authz runs beside those of the core: nothing outside of core may import those.
package authzbench

import (
	"bufio"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	"github.com/stretchr/testify/require"
)

// dataFile names the file with the world, as BenchmarkAllows of core/internal/authz writes it.
const dataFile = "PLATFORMD_BENCH_AUTHZ"

// rbac is casbin's own model of roles, with patterns. The cheaper condition comes first.
const rbac = `
[request_definition]
r = sub, obj
[policy_definition]
p = sub, obj
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = keyMatch(r.obj, p.obj) && g(r.sub, p.sub)
`

// question is what is asked, and what authz answered.
type question struct {
	user, permission string
	allowed          bool
}

type world struct {
	policies, groupings [][]string
	questions           []question
}

func read(b *testing.B) (w world) {
	b.Helper()
	name := os.Getenv(dataFile)
	if name == "" {
		b.Skip(dataFile + " names no file (fix: run scripts/bench-authz)")
	}
	file, err := os.Open(name)
	require.NoError(b, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		switch words := strings.Fields(lines.Text()); words[0] {
		case "p":
			w.policies = append(w.policies, words[1:])
		case "g":
			w.groupings = append(w.groupings, words[1:])
		case "q":
			w.questions = append(w.questions, question{words[1], words[2], words[3] == "true"})
		}
	}
	return w
}

type enforcer interface {
	AddPolicies(rules [][]string) (bool, error)
	AddGroupingPolicies(rules [][]string) (bool, error)
	Enforce(values ...any) (bool, error)
}

func measure(b *testing.B, e enforcer, w world) {
	b.Helper()
	for _, q := range w.questions[:256] {
		got, err := e.Enforce(q.user, q.permission)
		require.NoError(b, err)
		require.Equal(b, q.allowed, got, "%v", q)
	}
	b.ReportAllocs()
	begun := cpuTime(b)
	for i := 0; b.Loop(); i++ {
		q := &w.questions[i%len(w.questions)]
		if _, err := e.Enforce(q.user, q.permission); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return used.Utime.Nano() + used.Stime.Nano()
}

func fill(b *testing.B, e enforcer, w world) {
	b.Helper()
	_, err := e.AddPolicies(w.policies)
	require.NoError(b, err)
	_, err = e.AddGroupingPolicies(w.groupings)
	require.NoError(b, err)
}

// BenchmarkCasbin is casbin as it comes.
func BenchmarkCasbin(b *testing.B) {
	w := read(b)
	m, err := model.NewModelFromString(rbac)
	require.NoError(b, err)
	e, err := casbin.NewEnforcer(m)
	require.NoError(b, err)
	fill(b, e, w)
	measure(b, e, w)
}

// BenchmarkCasbinCached remembers every answer, so that it measures the repeated question: here all of them are.
func BenchmarkCasbinCached(b *testing.B) {
	w := read(b)
	m, err := model.NewModelFromString(rbac)
	require.NoError(b, err)
	e, err := casbin.NewCachedEnforcer(m)
	require.NoError(b, err)
	fill(b, e, w)
	w.questions = w.questions[:256] // few, so that they have all been asked before it is measured
	measure(b, e, w)
}
