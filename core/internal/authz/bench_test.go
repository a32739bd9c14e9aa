package authz

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/core/internal/storage"
	"github.com/platformd/platformd/plugin-api/manifest"
)

// The size of the world that is measured: 5,000 permissions of 50 modules, 1,000 roles with 5 patterns each, 50,000 users, 400
// groups, and 100,000 assignments.
const (
	benchModules, benchRoles, benchUsers, benchGroups = 50, 1000, 50_000, 400
	benchAssignments, benchQuestions                  = 100_000, 4096
)

// BenchData names the file that the world and the answers are written to, for scripts/bench/authzbench to ask the same.
const BenchData = "PLATFORMD_BENCH_AUTHZ"

// question is one that is asked, and what we answer.
type question struct{ user, permission string }

func benchRegistry(tb testing.TB) *Registry {
	tb.Helper()
	r := NewRegistry()
	for m := range benchModules {
		var list []manifest.Permission
		for i := range 100 {
			list = append(list, manifest.Permission{Name: fmt.Sprintf("module%d.resource%d.action%d", m, i/10, i%10)})
		}
		require.NoError(tb, r.Set(fmt.Sprintf("module%d", m), list))
	}
	return r
}

// benchUser is as long as a real id.
func benchUser(i int) string { return fmt.Sprintf("01936b2e-7c5a-7d3e-8f4a-%012d", i) }

func benchPattern(r *rand.Rand) string {
	m, i := r.IntN(benchModules), r.IntN(100)
	switch r.IntN(20) {
	case 0:
		return fmt.Sprintf("module%d.*", m)
	case 1, 2, 3:
		return fmt.Sprintf("module%d.resource%d.*", m, i/10)
	}
	return fmt.Sprintf("module%d.resource%d.action%d", m, i/10, i%10)
}

func benchTables() *tables {
	r, t, at := rand.New(rand.NewPCG(1, 2)), new(tables), time.Unix(0, 0)
	for i := range benchRoles {
		role := fmt.Sprint("role", i)
		t.roles = append(t.roles, roleRow{Name: role, CreatedAt: at})
		seen := map[string]bool{}
		for len(seen) < 5 {
			if p := benchPattern(r); !seen[p] {
				seen[p] = true
				t.patterns = append(t.patterns, patternRow{Role: role, Pattern: p, Granted: true, CreatedAt: at})
			}
		}
	}
	have := map[assignmentRow]bool{}
	for i := 0; len(t.assignments) < benchAssignments; i++ {
		a := assignmentRow{Role: fmt.Sprint("role", r.IntN(benchRoles)), Kind: kindUser, CreatedAt: at}
		a.Subject = benchUser(r.IntN(benchUsers))
		if i%50 == 0 {
			a.Kind, a.Subject = kindGroup, fmt.Sprint("group", r.IntN(benchGroups))
		}
		if !have[a] {
			have[a] = true
			t.assignments = append(t.assignments, a)
		}
	}
	for i := range benchGroups {
		t.groups = append(t.groups, groupRow{Name: fmt.Sprint("group", i), CreatedAt: at})
	}
	for i := range benchUsers {
		group := fmt.Sprint("group", r.IntN(benchGroups))
		t.members = append(t.members, memberRow{GroupName: group, UserID: benchUser(i), CreatedAt: at})
	}
	return t
}

// benchQuestionsOf asks for what is allowed and for what is not in turns.
func benchQuestionsOf(x *index) []question {
	r, list := rand.New(rand.NewPCG(3, 4)), make([]question, 0, benchQuestions)
	for len(list) < benchQuestions {
		q := question{benchUser(r.IntN(benchUsers)), x.powers.all[r.IntN(len(x.powers.all))].Name}
		if names := x.names(q.user); len(list)%2 == 0 && len(names) > 0 {
			q.permission = names[r.IntN(len(names))]
		}
		list = append(list, q)
	}
	return list
}

// writeWorld writes one line for each pattern, assignment, membership and question.
func writeWorld(file string, x *index, questions []question) (err error) {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := bufio.NewWriter(out)
	for _, p := range x.tables.patterns {
		fmt.Fprintln(w, "p", p.Role, p.Pattern)
	}
	for _, a := range x.tables.assignments {
		fmt.Fprintln(w, "g", a.Subject, a.Role)
	}
	for _, m := range x.tables.members {
		fmt.Fprintln(w, "g", m.UserID, m.GroupName)
	}
	for _, q := range questions {
		fmt.Fprintln(w, "q", q.user, q.permission, x.allows(q.user, q.permission))
	}
	return w.Flush()
}

func benchService(tb testing.TB) *Service {
	tb.Helper()
	s := &Service{Options: Options{Registry: benchRegistry(tb), Now: time.Now}}
	t := benchTables()
	index := newIndex(t, newPeople(t), s.Registry.All())
	s.view.Store(&view{index, time.Now().Add(24 * time.Hour)}) // nobody looks while it is measured
	return s
}

func BenchmarkAllows(b *testing.B) {
	s := benchService(b)
	questions := benchQuestionsOf(s.view.Load().index)
	if file := os.Getenv(BenchData); file != "" {
		require.NoError(b, writeWorld(file, s.view.Load().index, questions))
	}
	b.ReportAllocs()
	begun := cpuTime(b)
	for i := 0; b.Loop(); i++ {
		q := &questions[i%len(questions)]
		if _, err := s.Allows(q.user, q.permission); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used. On a machine that does much else it says more than the time on the clock.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return used.Utime.Nano() + used.Stime.Nano()
}

func BenchmarkAllowsParallel(b *testing.B) {
	s := benchService(b)
	questions := benchQuestionsOf(s.view.Load().index)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			q := &questions[i%len(questions)]
			_, _ = s.Allows(q.user, q.permission)
		}
	})
}

// BenchmarkRebuild is what a change costs each replica, with reading it from SQLite, and what a module that comes or goes costs.
func BenchmarkRebuild(b *testing.B) {
	store, err := storage.Open(b.Context(), storage.Options{DataDir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, store.Close()) })
	s, err := New(b.Context(), store.Core(), Options{Registry: benchRegistry(b)})
	require.NoError(b, err)
	t, tx := benchTables(), store.Core().Begin()
	require.NoError(b, errors.Join(insertAll(tx, t.roles), insertAll(tx, t.patterns), insertAll(tx, t.groups),
		insertAll(tx, t.members), insertAll(tx, t.assignments), bump(tx), tx.Commit().Error))
	b.Run("changed", func(b *testing.B) {
		for b.Loop() {
			s.view.Store(&view{index: &index{tables: new(tables)}})
			require.NoError(b, s.Refresh(b.Context()))
		}
	})
	require.Len(b, s.view.Load().index.tables.assignments, benchAssignments)
	b.Run("registry", func(b *testing.B) {
		for b.Loop() {
			s.recompile()
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, s.Refresh(b.Context()))
		}
	})
}

// TestACheckAllocatesNothing is not parallel, as what it counts is the process's.
func TestACheckAllocatesNothing(t *testing.T) {
	s := benchService(t)
	questions := benchQuestionsOf(s.view.Load().index)[:64]
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, q := range questions {
			_, _ = s.Allows(q.user, q.permission)
		}
	}))
}
