package main

import (
	"net/http"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	pageSize = 20  // of a list whose client names no limit
	maxPage  = 100 // bounds what one answer holds
)

// page is one part of a list. Next is the cursor of the part that follows, null in the last one.
type page[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// newPage makes a page of at most limit rows. The caller reads one row more than that: it tells whether another page
// follows without counting all rows.
func newPage[T any](rows []T, limit int, id func(T) string) page[T] {
	if len(rows) <= limit {
		return page[T]{Items: rows}
	}
	next := id(rows[limit-1])
	return page[T]{Items: rows[:limit], Next: &next}
}

// window is the part of a list that a client asks for: what comes after cursor, which is the id of a row it has seen.
type window struct {
	limit  int
	cursor string
}

func readWindow(r *http.Request) (window, error) {
	query := r.URL.Query()
	w := window{limit: pageSize, cursor: query.Get("cursor")}
	if text := query.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 {
			return window{}, status.Errorf(codes.InvalidArgument, "limit %q is not a number of rows: use 1 to %d", text, maxPage)
		}
		w.limit = min(limit, maxPage) // who asks for too much sees next and goes on
	}
	if w.cursor != "" && uuid.Validate(w.cursor) != nil {
		return window{}, status.Errorf(codes.InvalidArgument,
			"cursor %q did not come from this list: pass the next of the page before, or leave it out", w.cursor)
	}
	return w, nil
}
