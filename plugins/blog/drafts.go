package main

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

// The longest texts, in characters.
const (
	maxTitle   = 200
	maxBody    = 100_000
	maxComment = 5_000
)

// draft is what a client says about a post; nil means that it said nothing.
type draft struct {
	Title *string `json:"title"`
	Body  *string `json:"body"`
}

func readDraft(r *http.Request) (d draft, err error) {
	if err := pluginapi.ReadJSON(r, &d); err != nil {
		return draft{}, err
	}
	return d, d.check()
}

// readWholeDraft is readDraft for requests that must not leave anything out.
func readWholeDraft(r *http.Request) (draft, error) {
	d, err := readDraft(r)
	if err == nil && (d.Title == nil || d.Body == nil) {
		err = status.Error(codes.InvalidArgument, `a post needs both: send {"title": "…", "body": "…"}`)
	}
	return d, err
}

func (d draft) check() error {
	if d.Title == nil && d.Body == nil {
		return status.Error(codes.InvalidArgument, "the post is empty: send title, body or both")
	}
	if d.Title != nil {
		if err := checkTitle(*d.Title); err != nil {
			return err
		}
	}
	if d.Body != nil {
		return checkText("body", *d.Body, maxBody)
	}
	return nil
}

func (d draft) columns() map[string]any {
	columns := map[string]any{}
	if d.Title != nil {
		columns["title"] = *d.Title
	}
	if d.Body != nil {
		columns["body"] = *d.Body
	}
	return columns
}

func checkTitle(title string) error {
	if strings.ContainsFunc(title, unicode.IsControl) {
		return status.Error(codes.InvalidArgument, "title holds a line break or another control character: write it in one line")
	}
	return checkText("title", title, maxTitle)
}

func checkText(field, text string, longest int) error {
	switch length := utf8.RuneCountInString(text); {
	case strings.TrimSpace(text) == "":
		return status.Errorf(codes.InvalidArgument, "%s is empty: write something", field)
	case length > longest:
		return status.Errorf(codes.InvalidArgument, "%s has %d characters: use at most %d", field, length, longest)
	case strings.ContainsRune(text, 0): // not every database can store it
		return status.Errorf(codes.InvalidArgument, "%s holds a zero byte: remove it", field)
	}
	return nil
}
