package pluginapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformd/platformd/plugin-api/problem"
)

func TestReadJSONTakesOneKnownValue(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		body string
		want int // 0: accepted
	}{
		"good":          {`{"title":"x"}`, 0},
		"spaces after":  {"{\"title\":\"x\"}\n \t", 0},
		"empty":         {``, http.StatusBadRequest},
		"cut":           {`{"title":`, http.StatusBadRequest},
		"unknown field": {`{"titel":"x"}`, http.StatusBadRequest},
		"two values":    {`{"title":"x"}{}`, http.StatusBadRequest},
		"garbage after": {`{"title":"x"} x`, http.StatusBadRequest},
		"wrong type":    {`{"title":1}`, http.StatusBadRequest},
		"too large":     {`{"title":"` + strings.Repeat("x", 200) + `"}`, http.StatusRequestEntityTooLarge},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
			r.Body = http.MaxBytesReader(nil, r.Body, 100)
			var into struct{ Title string }
			err := ReadJSON(r, &into)
			if c.want == 0 {
				require.NoError(t, err)
				require.Equal(t, "x", into.Title)
				return
			}
			p, public := problem.FromError(err)
			require.True(t, public, err)
			require.Equal(t, c.want, p.Status)
		})
	}
}

func TestConfigIsStrictAndKeepsDefaults(t *testing.T) {
	t.Parallel()
	type settings struct {
		PageSize int    `json:"pageSize"`
		Title    string `json:"title"`
	}
	read := func(config string) error {
		return NewCore(Core{Name: "blog"}, []byte(config), nil).Config(new(settings))
	}
	got := settings{PageSize: 20, Title: "default"}
	core := NewCore(Core{Name: "blog"}, []byte(`{"pageSize":5}`), nil)
	require.NoError(t, core.Config(&got))
	require.Equal(t, settings{PageSize: 5, Title: "default"}, got)

	require.NoError(t, read(""))
	require.ErrorContains(t, read(`{"pagesize_":5}`), "modules.overrides.blog.config")
	require.ErrorContains(t, read(`{} {}`), "more than one value")
}

func TestDependencyNeedsAPlatform(t *testing.T) {
	t.Parallel()
	_, err := NewCore(Core{Name: "blog"}, nil, nil).Dependency(t.Context(), "billing")
	require.ErrorContains(t, err, "no platform behind")
}

func TestModulesThatArePutTogetherWrongly(t *testing.T) {
	t.Parallel()
	run := func(context.Context, Database, Step) ([]string, error) { return nil, nil }
	for want, module := range map[string]Module{
		`Routes["get"] is nil`: {Routes: map[string]Handler{"get": nil}},
		"no Migrations.Run":    {Migrations: &Migrations{IDs: []string{"1"}}},
		"has no ID":            {Migrations: &Migrations{IDs: []string{""}, Run: run}},
		`have the ID "1"`:      {Migrations: &Migrations{IDs: []string{"1", "2", "1"}, Run: run}},
	} {
		_, err := NewServer(module, nil, nil)
		require.ErrorContains(t, err, want)
	}
	_, err := NewServer(Module{}, nil, nil)
	require.NoError(t, err)
}
