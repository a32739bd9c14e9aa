// Package nearest finds the names that a mistyped one was probably meant to be, for "did you mean". The manifest, the
// configuration, the permissions and the commands all offer them, and so should agree on what is near.
//
// It must not know what the names are names of.
package nearest

import (
	"cmp"
	"slices"
	"strings"
)

const (
	most = 5 // keeps a message readable
	// longest keeps the cost of a comparison small: nothing that is likely to be meant is longer.
	longest = 128
)

// Names returns those of names that word was probably meant to be, the nearest first, at most five. Case, "_" and "-" do
// not count, so that api_version stands for apiVersion.
func Names(word string, names []string) []string {
	if len(word) > longest {
		return nil
	}
	word = plain(word)
	limit := min(len(word)-1, max(2, len(word)/3)) // two: the slip of swapped letters
	far := func(name string) bool { return Distance(word, plain(name)) > limit }
	found := slices.DeleteFunc(slices.Clone(names), far)
	slices.SortStableFunc(found, func(a, b string) int {
		return cmp.Compare(Distance(word, plain(a)), Distance(word, plain(b)))
	})
	return found[:min(len(found), most)]
}

func plain(word string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(word))
}

// Distance is Levenshtein's: how many bytes must be inserted, removed or replaced to make b from a.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
