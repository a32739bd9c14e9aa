package jsonbody

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/problem"
)

type wanted struct {
	Name string `json:"name"`
}

func read(t *testing.T, body io.Reader) (wanted, error) {
	t.Helper()
	var into wanted
	err := Read(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body), &into)
	return into, err
}

func TestRead(t *testing.T) {
	t.Parallel()
	for body, name := range map[string]string{
		`{"name":"ada"}`: "ada", " {\"name\":\"ada\"}\r\n\t": "ada", `{}`: "", `{"name":null}`: "", `null`: "",
		`{"name":"` + strings.Repeat("x", Max-len(`{"name":""}`)) + `"}`: strings.Repeat("x", Max-len(`{"name":""}`)),
	} {
		got, err := read(t, strings.NewReader(body))
		require.NoError(t, err, body)
		require.Equal(t, name, got.Name)
	}
}

func TestBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   io.Reader
		status int
		says   string
	}{
		"none":                {strings.NewReader(""), 400, "EOF"},
		"no JSON":             {strings.NewReader("name=ada"), 400, "invalid character"},
		"cut":                 {strings.NewReader(`{"name":"ada"`), 400, "unexpected EOF"},
		"unknown key":         {strings.NewReader(`{"nmae":"ada"}`), 400, `unknown field "nmae"`},
		"another kind":        {strings.NewReader(`[]`), 400, "cannot unmarshal array"},
		"another kind within": {strings.NewReader(`{"name":1}`), 400, "cannot unmarshal number"},
		"two values":          {strings.NewReader(`{}{}`), 400, "goes on after"},
		"more than a value":   {strings.NewReader(`{}]`), 400, "goes on after"},
		"too long":            {strings.NewReader(`{"name":"` + strings.Repeat("x", Max) + `"}`), 413, "65536 bytes"},
		"long after its end":  {strings.NewReader(`{}` + strings.Repeat(" ", Max)), 413, "65536 bytes"},
		"broken off":          {io.MultiReader(strings.NewReader(`{`), iotest.ErrReader(errors.New("gone"))), 400, "gone"},
	} {
		_, err := read(t, c.body)
		var p *problem.Problem
		require.ErrorAs(t, err, &p, name)
		require.Equal(t, c.status, p.Status, name)
		require.Contains(t, p.Detail, c.says, name)
		require.Regexp(t, `\(fix: .+\)$`, p.Detail, name)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	require.NoError(t, Write(w, http.StatusCreated, wanted{"<ada>"}))
	require.Equal(t, http.StatusCreated, w.Code)
	require.JSONEq(t, `{"name":"<ada>"}`, w.Body.String())
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))

	w = httptest.NewRecorder()
	require.ErrorContains(t, Write(w, http.StatusOK, func() {}), "encode the answer")
	require.Empty(t, w.Body.String(), "nothing has been said yet")
}
