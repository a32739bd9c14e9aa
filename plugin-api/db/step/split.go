package step

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The dialects of SQL that Split reads, named as GORM names its dialectors.
const (
	SQLite     = "sqlite"
	PostgreSQL = "postgres"
)

// Statement is one statement of a text, without the semicolon at its end and the comments before it.
type Statement struct {
	Text string
	Line int // of its first character, from 1
}

// SyntaxError says that a text cannot be split: something that was opened is not closed.
type SyntaxError struct {
	Line   int
	Reason string
}

// Error implements error.
func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Split takes a text of SQL apart at the semicolons between statements: not at those in quotes, comments, parentheses, or the
// bodies of triggers and functions. It knows how statements are put together, not whether they make sense. The error is
// a *SyntaxError.
func Split(text, dialect string) ([]Statement, error) {
	s := scanner{text: text, dialect: dialect, line: 1}
	var all []Statement
	for {
		statement, err := s.statement()
		if err != nil {
			return nil, err
		}
		if statement.Text != "" {
			all = append(all, statement)
		}
		if s.at >= len(s.text) {
			return all, nil
		}
	}
}

// scanner walks through a text once.
type scanner struct {
	text, dialect string
	at, line      int

	// Of the statement that it is in:
	words    []string // the first ones, in upper case
	brackets int      // open parentheses
	blocks   int      // open BEGIN and CASE of a body
}

// maxWords is how many words tell what a statement is: CREATE OR REPLACE TEMPORARY TRIGGER.
const maxWords = 5

// statement reads up to and with the next semicolon that ends one, or to the end.
func (s *scanner) statement() (Statement, error) {
	s.words, s.brackets, s.blocks = nil, 0, 0
	if err := s.skipBlank(); err != nil {
		return Statement{}, err
	}
	begin, line := s.at, s.line
	end := begin // behind the last token
	for s.at < len(s.text) {
		if s.text[s.at] == ';' && s.brackets <= 0 && s.blocks <= 0 {
			s.at++
			break
		}
		if err := s.token(); err != nil {
			return Statement{}, err
		}
		end = s.at
		if err := s.skipBlank(); err != nil {
			return Statement{}, err
		}
	}
	return Statement{Text: s.text[begin:end], Line: line}, nil
}

// token reads one quoted text, word or character.
func (s *scanner) token() error {
	switch c := s.text[s.at]; {
	case c == '\'':
		return s.quoted('\'', false)
	case c == '"':
		return s.quoted('"', false)
	case c == '`' && s.dialect == SQLite:
		return s.quoted('`', false)
	case c == '[' && s.dialect == SQLite:
		return s.until("]", "[")
	case c == '$' && s.dialect == PostgreSQL:
		return s.dollar()
	case isWord(rune(c)) || c >= utf8.RuneSelf:
		return s.word()
	case c == '(':
		s.brackets++
	case c == ')':
		s.brackets--
	}
	s.at++
	return nil
}

// skipBlank passes over white space and comments.
func (s *scanner) skipBlank() error {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.HasPrefix(rest, "--"):
			s.pass(len(strings.SplitAfterN(rest, "\n", 2)[0]))
		case strings.HasPrefix(rest, "/*"):
			if err := s.comment(); err != nil {
				return err
			}
		case unicode.IsSpace(rune(rest[0])):
			s.pass(1)
		default:
			return nil
		}
	}
	return nil
}

// comment passes over /* … */. PostgreSQL's may hold others.
func (s *scanner) comment() error {
	line, depth := s.line, 0
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.HasPrefix(rest, "/*") && (depth == 0 || s.dialect == PostgreSQL):
			depth++
			s.pass(2)
		case strings.HasPrefix(rest, "*/"):
			depth--
			s.pass(2)
			if depth == 0 {
				return nil
			}
		default:
			s.pass(1)
		}
	}
	return &SyntaxError{Line: line, Reason: "the comment that begins with /* does not end"}
}

// quoted passes over a text in quotes; two of them in it stand for one.
func (s *scanner) quoted(quote byte, backslashes bool) error {
	line := s.line
	s.pass(1)
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '\\' && backslashes:
			s.pass(min(2, len(s.text)-s.at))
		case c != quote:
			s.pass(1)
		case s.at+1 < len(s.text) && s.text[s.at+1] == quote:
			s.pass(2)
		default:
			s.pass(1)
			return nil
		}
	}
	return &SyntaxError{Line: line, Reason: fmt.Sprintf("the text that begins with %c does not end", quote)}
}

// dollar passes over $tag$ … $tag$, or over a parameter such as $1.
func (s *scanner) dollar() error {
	tag := 1
	for s.at+tag < len(s.text) && isWord(rune(s.text[s.at+tag])) {
		tag++
	}
	if s.at+tag >= len(s.text) || s.text[s.at+tag] != '$' || tag > 1 && isDigit(s.text[s.at+1]) {
		s.at++
		return nil
	}
	opening := s.text[s.at : s.at+tag+1]
	return s.until(opening, opening)
}

// until passes over what begins with opening, to the end of closing.
func (s *scanner) until(closing, opening string) error {
	line := s.line
	s.pass(len(opening))
	length := strings.Index(s.text[s.at:], closing)
	if length < 0 {
		return &SyntaxError{Line: line, Reason: "the text that begins with " + opening + " does not end"}
	}
	s.pass(length + len(closing))
	return nil
}

// word passes over a word, and follows the blocks of a body.
func (s *scanner) word() error {
	begin := s.at
	for s.at < len(s.text) {
		r, size := utf8.DecodeRuneInString(s.text[s.at:])
		if !s.inWord(r) {
			break
		}
		s.at += size
	}
	if s.at == begin { // white space beyond ASCII
		_, size := utf8.DecodeRuneInString(s.text[s.at:])
		s.at += size
		return nil
	}
	word := strings.ToUpper(s.text[begin:s.at])
	if word == "E" && s.dialect == PostgreSQL && strings.HasPrefix(s.text[s.at:], "'") {
		return s.quoted('\'', true)
	}
	if len(s.words) < maxWords {
		s.words = append(s.words, word)
	}
	s.follow(word)
	return nil
}

// inWord tells whether a word goes on with the character.
func (s *scanner) inWord(r rune) bool {
	return isWord(r) || r == '$' && s.dialect == PostgreSQL || r >= utf8.RuneSelf && !unicode.IsSpace(r)
}

// follow counts what opens and closes in the body of a trigger or function.
func (s *scanner) follow(word string) {
	if !s.hasBody() {
		return
	}
	switch {
	case word == "BEGIN", word == "CASE" && s.blocks > 0:
		s.blocks++
	case word == "END" && s.blocks > 0:
		s.blocks--
	}
}

// hasBody tells whether statements may be part of this one.
func (s *scanner) hasBody() bool {
	if len(s.words) == 0 || s.words[0] != "CREATE" {
		return false
	}
	for _, word := range s.words[1:] {
		switch word {
		case "TRIGGER":
			return s.dialect == SQLite
		case "FUNCTION", "PROCEDURE":
			return s.dialect == PostgreSQL
		}
	}
	return false
}

// pass goes on by n bytes, and counts the lines.
func (s *scanner) pass(n int) {
	s.line += strings.Count(s.text[s.at:s.at+n], "\n")
	s.at += n
}

func isWord(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
