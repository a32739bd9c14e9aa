package main

import (
	"net/http"
	"strconv"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxPage bounds what one answer holds.
const maxPage = 100

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

// window is the part of a list that a client asks for: what comes after cursor, which is the id of a row it has seen. The
// row itself may be gone by now.
type window struct {
	limit  int
	cursor string
}

func (b *blog) readWindow(r *http.Request) (window, error) {
	query := r.URL.Query()
	limit, err := b.readLimit(query.Get("limit"))
	if err != nil {
		return window{}, err
	}
	cursor := query.Get("cursor")
	if cursor != "" && uuid.Validate(cursor) != nil {
		return window{}, status.Errorf(codes.InvalidArgument,
			"cursor %q did not come from this list: pass the next of the page before, or leave it out", cursor)
	}
	return window{limit: limit, cursor: cursor}, nil
}

// readLimit gives a client that asks for too much the most there is; it will see next and go on.
func (b *blog) readLimit(text string) (int, error) {
	if text == "" {
		return b.config.PageSize, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		return 0, status.Errorf(codes.InvalidArgument, "limit %q is not a number of posts: use 1 to %d", text, maxPage)
	}
	return min(limit, maxPage), nil
}
