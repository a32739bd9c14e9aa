// Package posts is what the contestants with data hold and are asked: the sample module blog, with a table full of posts.
//
// It must not know contestants or load generators: it gets an address and a token.
package posts

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	// Path is where the posts are.
	Path = "/api/v1/blog/posts"
	// Count is how many posts there are before anybody is measured.
	Count = 1000
	// Page is how many of them a list brings.
	Page = 20
	// bodySize is the length of a post's text: a paragraph or two.
	bodySize = 500
)

// ListPath is the request for the newest posts.
func ListPath() string { return fmt.Sprintf("%s?limit=%d", Path, Page) }

// post is what we read of a post, and what a client sends to write one.
type post struct {
	ID    string `json:"id,omitempty"`
	Title string `json:"title"`
	Body  string `json:"body"`
}

// nth is the post that is written as number i.
func nth(i int) post {
	const sentence = "What a post says is of no interest here, but how long it is. "
	body := strings.Repeat(sentence, bodySize/len(sentence)+1)[:bodySize-1] + "."
	return post{Title: fmt.Sprintf("Post number %d of a blog that is read more often than written", i), Body: body}
}

// Draft is the body of the request that writes post number i.
func Draft(i int) string {
	text, _ := json.Marshal(nth(i)) // strings always encode
	return string(text)
}
