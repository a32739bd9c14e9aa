package ledger_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/db/ledger"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ applied, declared, want string }{
		"nothing at all":   {"", "", ""},
		"first start":      {"", "a b c", "a b c"},
		"some are pending": {"a", "a b c", "b c"},
		"all are applied":  {"a b c", "a b c", ""},
		"one more":         {"a b", "a b c", "c"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pending, err := ledger.Plan(rows(test.applied), declared(test.declared))
			require.NoError(t, err)
			require.Equal(t, test.want, strings.Join(ledger.IDsOf(pending), " "))
		})
	}
}

func TestPlanRefusesANewerDatabase(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ applied, declared, missing, says string }{
		"the last is missing":      {"a b c", "a b", "c", "applied: c; declared: none"},
		"one in between":           {"a b c", "a c", "b", "applied: b, c; declared: c"},
		"the binary has none":      {"a b", "", "a b", "applied: a, b; declared: none"},
		"replaced by another":      {"a b", "a x", "b", "applied: b; declared: x"},
		"missing and out of order": {"a c z", "a b c", "z", "applied: c, z; declared: b, c"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pending, err := ledger.Plan(rows(test.applied), declared(test.declared))
			require.Empty(t, pending)
			var missing *ledger.MissingError
			require.ErrorAs(t, err, &missing)
			require.Equal(t, test.missing, strings.Join(missing.IDs, " "))
			require.ErrorContains(t, err, "the database is newer than the binary")
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "fix: ")
		})
	}
}

func TestPlanRefusesAnotherOrder(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ applied, declared, id, says string }{
		"inserted at the start":   {"b", "a b", "a", "applied: b; declared: a, b"},
		"inserted in between":     {"a c", "a b c", "b", "applied: c; declared: b, c"},
		"inserted, and a new one": {"a c", "a b c d", "b", "applied: c; declared: b, c, d"},
		"moved":                   {"a b", "b a", "b", "applied: a, b; declared: b, a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pending, err := ledger.Plan(rows(test.applied), declared(test.declared))
			require.Empty(t, pending)
			var order *ledger.OrderError
			require.ErrorAs(t, err, &order)
			require.Equal(t, test.id, order.ID)
			require.ErrorContains(t, err, "migrations are out of order")
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, "fix: ")
		})
	}
}

func TestPlanRefusesBadIDs(t *testing.T) {
	t.Parallel()
	for id, says := range map[string]string{
		"":                       "is not made of",
		"a b":                    "is not made of",
		"../a":                   "is not made of",
		".a":                     "is not made of",
		"a\x1b[31m":              "is not made of",
		"a\n":                    "is not made of",
		"é":                      "is not made of",
		strings.Repeat("a", 101): "is longer than 100 bytes",
		"0001_init":              "is declared twice",
	} {
		pending, err := ledger.Plan(rows("0001_init"), []ledger.Declared{{ID: "0001_init"}, {ID: id}})
		require.Empty(t, pending)
		var invalid *ledger.InvalidError
		require.ErrorAs(t, err, &invalid, "%q", id)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "fix: ")
		require.NotContains(t, err.Error(), "\x1b")
	}
}

func TestPlanTakesOrdinaryIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"0001", "0001_posts", "2026-05-01.add-tags", "A", strings.Repeat("a", 100)} {
		pending, err := ledger.Plan(nil, []ledger.Declared{{ID: id}})
		require.NoError(t, err)
		require.Equal(t, []ledger.Declared{{ID: id}}, pending)
	}
}

func rows(ids string) (all []ledger.Row) {
	for _, id := range strings.Fields(ids) {
		all = append(all, ledger.Row{ID: id})
	}
	return all
}

func declared(ids string) (all []ledger.Declared) {
	for _, id := range strings.Fields(ids) {
		all = append(all, ledger.Declared{ID: id})
	}
	return all
}

func TestPlanRefusesWhatWasEdited(t *testing.T) {
	t.Parallel()
	applied := []ledger.Row{{ID: "a"}, {ID: "b", Checksum: "1234567890abcdef"}, {ID: "c", Checksum: "33"}}
	_, err := ledger.Plan(applied, []ledger.Declared{{ID: "a", Checksum: "1"}, {ID: "b", Checksum: "ff"}, {ID: "c", Checksum: "33"}})
	var drift *ledger.DriftError
	require.ErrorAs(t, err, &drift)
	require.Equal(t, "b", drift.ID)
	require.ErrorContains(t, err, "then 1234567890ab, now ff")
	require.ErrorContains(t, err, "fix: ")

	pending, err := ledger.Plan(applied,
		[]ledger.Declared{{ID: "a", Checksum: "1"}, {ID: "b"}, {ID: "c", Checksum: "33"}, {ID: "d"}})
	require.NoError(t, err, "a checksum that only one side knows says nothing")
	require.Equal(t, []ledger.Declared{{ID: "d"}}, pending)
}

func TestPlanResumesWhatDidNotEnd(t *testing.T) {
	t.Parallel()
	pending, err := ledger.Plan([]ledger.Row{{ID: "a"}, {ID: "b", Unfinished: true}}, declared("a b c"))
	require.NoError(t, err)
	require.Equal(t, declared("b c"), pending)
}

// A step that did not come to its end may be corrected; who resumes it looks at what has run.
func TestPlanOfACorrectedStep(t *testing.T) {
	t.Parallel()
	now := []ledger.Declared{{ID: "a", Checksum: "1"}, {ID: "b", Checksum: "3"}}
	rows := []ledger.Row{{ID: "a", Checksum: "1"}, {ID: "b", Checksum: "2", Unfinished: true}}
	pending, err := ledger.Plan(rows, now)
	require.NoError(t, err)
	require.Equal(t, now[1:], pending)

	rows[1].Unfinished = false
	_, err = ledger.Plan(rows, now)
	var drift *ledger.DriftError
	require.ErrorAs(t, err, &drift)
	require.Equal(t, "b", drift.ID)
}
