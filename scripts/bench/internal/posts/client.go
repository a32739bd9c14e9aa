package posts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Client asks one contestant.
type Client struct {
	Address string // host:port
	Token   string
}

// request is what to send.
type request struct{ method, path, body string }

// answer is a response that has been read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c Client) do(ctx context.Context, r request) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, "http://"+c.Address+r.path, strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s %s: %w", r.method, r.path, err)
	}
	return &answer{status: res.StatusCode, header: res.Header, body: content}, nil
}

// expect is do for an answer with the given status.
func (c Client) expect(ctx context.Context, status int, r request) (*answer, error) {
	got, err := c.do(ctx, r)
	if err == nil && got.status != status {
		err = fmt.Errorf("%s %s answered %d, not %d: %.200s", r.method, r.path, got.status, status, got.body)
	}
	return got, err
}

// CheckGuard makes sure that the posts are there, and not for everybody.
func (c Client) CheckGuard(ctx context.Context) error {
	_, err := Client{Address: c.Address}.expect(ctx, http.StatusUnauthorized, request{method: http.MethodGet, path: ListPath()})
	return err
}

// Fill writes Count posts.
func (c Client) Fill(ctx context.Context) error {
	for i := range Count {
		if _, err := c.expect(ctx, http.StatusCreated, request{http.MethodPost, Path, Draft(i)}); err != nil {
			return fmt.Errorf("write post %d of %d: %w", i+1, Count, err)
		}
	}
	return nil
}

// CheckList reads the newest posts, which must be those that Fill wrote last.
func (c Client) CheckList(ctx context.Context) error {
	got, err := c.expect(ctx, http.StatusOK, request{method: http.MethodGet, path: ListPath()})
	if err != nil {
		return err
	}
	var list struct {
		Items []post  `json:"items"`
		Next  *string `json:"next"`
	}
	if err := json.Unmarshal(got.body, &list); err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	if len(list.Items) != Page || list.Next == nil {
		return fmt.Errorf("the list holds %d posts, not %d and the way to more", len(list.Items), Page)
	}
	for i, item := range list.Items {
		if err := item.check(nth(Count - 1 - i)); err != nil {
			return fmt.Errorf("item %d of the list: %w", i, err)
		}
	}
	return nil
}

// CheckCreate writes one post more, and deletes it: the list stays as it was.
func (c Client) CheckCreate(ctx context.Context) error {
	got, err := c.expect(ctx, http.StatusCreated, request{http.MethodPost, Path, Draft(Count)})
	if err != nil {
		return err
	}
	var created post
	if err := json.Unmarshal(got.body, &created); err != nil {
		return fmt.Errorf("read the new post: %w", err)
	}
	if err := created.check(nth(Count)); err != nil {
		return fmt.Errorf("the new post: %w", err)
	}
	at := Path + "/" + created.ID
	if location := got.header.Get("Location"); location != at {
		return fmt.Errorf("the new post is said to be at %q, not at %s", location, at)
	}
	_, err = c.expect(ctx, http.StatusNoContent, request{method: http.MethodDelete, path: at})
	return err
}

func (p post) check(want post) error {
	id := p.ID
	if p.ID = ""; id == "" || p != want {
		return fmt.Errorf("it is %.80q with %d bytes and the id %q, not %.80q with %d bytes",
			p.Title, len(p.Body), id, want.Title, len(want.Body))
	}
	return nil
}
