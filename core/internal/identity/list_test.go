package identity

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fill makes n users without passwords, in one statement for each hundred.
func (d *daemon) fill(t *testing.T, n int) (ids []string) {
	t.Helper()
	rows := make([]row, n)
	for i := range rows {
		r, err := d.plain(fmt.Sprintf("user%04d@example.com", i), fmt.Sprintf("Üser %04d", i))
		require.NoError(t, err)
		rows[i] = r
		ids = append(ids, r.ID)
	}
	require.NoError(t, d.db.CreateInBatches(&rows, 100).Error)
	return ids
}

// all turns the pages.
func (d *daemon) all(t *testing.T, p Page) (ids []string, pages int) {
	t.Helper()
	for {
		listing, err := d.List(t.Context(), p)
		require.NoError(t, err)
		for _, u := range listing.Users {
			ids = append(ids, u.ID)
		}
		pages++
		if listing.Next == "" {
			return ids, pages
		}
		p.After = listing.Next
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		empty, err := d.List(t.Context(), Page{})
		require.NoError(t, err)
		require.NotNil(t, empty.Users, "an empty list in JSON, not null")
		require.Empty(t, empty.Users)
		want := d.fill(t, 1200)
		for limit, pages := range map[int]int{0: 12, 100: 12, 500: 3, 499: 3, 400: 3, 7: 172} {
			got, turned := d.all(t, Page{Limit: limit})
			require.Equal(t, want, got, "in the order in which they were made, limit %d", limit)
			require.Equal(t, pages, turned)
		}
		got, pages := d.all(t, Page{Limit: 500, Query: "USER00"})
		require.Equal(t, want[:100], got)
		require.Equal(t, 1, pages)
		got, pages = d.all(t, Page{Limit: 40, Query: "üser 11"})
		require.Equal(t, want[1100:], got)
		require.Equal(t, 3, pages)

		first, err := d.List(t.Context(), Page{Limit: 10})
		require.NoError(t, err)
		require.NoError(t, d.Delete(t.Context(), first.Next))
		second, err := d.List(t.Context(), Page{Limit: 10, After: first.Next})
		require.NoError(t, err)
		require.Equal(t, want[10], second.Users[0].ID, "a page begins after who is gone, too")
	})
}

func TestListQueries(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		for email, name := range map[string]string{
			"ada@example.com": "Ada Lovelace", "a_a@example.com": "100% Ä!", "grace@example.com": "adamant", "eve@example.com": "",
		} {
			_, err := d.Create(t.Context(), NewUser{Email: email, Name: name})
			require.NoError(t, err)
		}
		for query, want := range map[string]string{
			"ad": "ada grace", "ADA L": "ada", "lovelace": "", "a_": "a_a", "100%": "a_a", "100% ä!": "a_a", "%": "", "_": "",
			"!": "", "ada@example.com": "ada", " ada ": "ada grace", "'": "", `\`: "", "": "a_a ada eve grace", "jose\u0301": "",
		} {
			listing, err := d.List(t.Context(), Page{Query: query})
			require.NoError(t, err)
			var got []string
			for _, u := range listing.Users {
				got = append(got, strings.TrimSuffix(u.Email, "@example.com"))
			}
			slices.Sort(got)
			require.Equal(t, want, strings.Join(got, " "), "%q", query)
		}
		_, err := d.Update(t.Context(), d.user(t, "x@example.com", "").ID, Change{Name: new("José")})
		require.NoError(t, err)
		listing, err := d.List(t.Context(), Page{Query: "jose\u0301"})
		require.NoError(t, err)
		require.Len(t, listing.Users, 1, "what is searched for is composed as names are, and names are found as they are now")
	})
}

func TestListRefuses(t *testing.T) {
	t.Parallel()
	d := newDaemon(t, storageAt(t))
	for _, p := range []Page{
		{Limit: -1}, {Limit: 501}, {After: "x"}, {After: strings.ToUpper(somehow[:35] + "a")}, {After: "\x00"},
		{Query: strings.Repeat("x", 201)}, {Query: "a\x00"}, {Query: "\xff"},
	} {
		_, err := d.List(t.Context(), p)
		requireBad(t, err, "")
	}
	_, err := d.List(t.Context(), Page{Limit: 500, After: somehow, Query: strings.Repeat("é", 200)})
	require.NoError(t, err)
}

func TestBatchGet(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, more func() *daemon) {
		d := more()
		ids := d.fill(t, 101)
		get := func(ids ...string) (got []string) {
			t.Helper()
			found, err := d.BatchGet(t.Context(), ids)
			require.NoError(t, err)
			require.NotNil(t, found)
			for _, u := range found {
				got = append(got, u.ID)
			}
			return got
		}
		require.Empty(t, get())
		require.Empty(t, get(somehow))
		reversed := slices.Clone(ids[:100])
		slices.Reverse(reversed)
		require.Equal(t, reversed, get(reversed...), "in the order of the ids")
		mixed := []string{"", ids[7], somehow, "\x00", ids[3], ids[7], strings.ToUpper(ids[5])}
		require.Equal(t, []string{ids[7], ids[3]}, get(mixed...))
		require.Equal(t, "\x00", mixed[3], "the caller's list stays")
		_, err := d.BatchGet(t.Context(), ids)
		requireBad(t, err, "at most 100")
	})
}
