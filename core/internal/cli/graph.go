package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/platformd/platformd/core/internal/admin"
)

func (a *app) moduleGraph() *cobra.Command {
	style := "tree"
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Show which module requires which, and what it calls there",
		Long: "Shows which module requires which, and which gRPC services of it. A tree begins with the modules that nothing\n" +
			"requires; dot is for Graphviz, mermaid for Markdown.",
	}
	format := &choice{value: &style, of: []string{"tree", "dot", "mermaid"}}
	cmd.Flags().Var(format, "format", "how to draw it: tree, dot or mermaid")
	format.complete(cmd, "format")
	return a.asking(cmd, func(c *conversation) error {
		modules, err := c.Modules(c.cmd.Context())
		if err != nil {
			return err
		}
		g := newGraph(modules)
		if a.format == formatJSON {
			return a.out.json(g)
		}
		draw := map[string]func(io.Writer) error{"tree": g.tree, "dot": g.dot, "mermaid": g.mermaid}
		return draw[style](a.out)
	})
}

// graph is the modules and what they require.
type graph struct {
	Nodes []node `json:"nodes"`
	Edges []edge `json:"edges"`
}

type node struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// State is "missing" for a module that another one names and that is not there.
	State string `json:"state"`
}

// edge says that From requires To, in a version that Constraint admits, and which gRPC services of To it calls.
type edge struct {
	From       string   `json:"from"`
	To         string   `json:"to"`
	Constraint string   `json:"constraint"`
	Optional   bool     `json:"optional"`
	Services   []string `json:"services"`
}

func newGraph(modules []admin.Module) *graph {
	g := &graph{Nodes: []node{}, Edges: []edge{}}
	provides := make(map[string][]string, len(modules))
	for _, m := range modules {
		provides[m.Name] = m.Provides
	}
	for _, m := range modules {
		g.Nodes = append(g.Nodes, node{Name: m.Name, Version: m.Version, State: m.State})
		g.connect(m.Name, m.Requires, false)
		g.connect(m.Name, m.Optional, true)
		for i := range g.Edges {
			if e := &g.Edges[i]; e.From == m.Name {
				e.Services = called(m.Consumes, provides[e.To])
			}
		}
	}
	for _, e := range g.Edges {
		if !slices.ContainsFunc(g.Nodes, func(n node) bool { return n.Name == e.To }) {
			g.Nodes = append(g.Nodes, node{Name: e.To, State: "missing"})
		}
	}
	return g
}

func (g *graph) connect(from string, to map[string]string, optional bool) {
	for _, name := range slices.Sorted(maps.Keys(to)) {
		g.Edges = append(g.Edges, edge{From: from, To: name, Constraint: to[name], Optional: optional})
	}
}

// called are those of the services provided that are consumed, whole or in part.
func called(consumes, provides []string) []string {
	services := []string{}
	for _, service := range provides {
		if slices.ContainsFunc(consumes, func(one string) bool { return one == service || strings.HasPrefix(one, service+"/") }) {
			services = append(services, service)
		}
	}
	return services
}

// from returns what a module requires.
func (g *graph) from(name string) []edge {
	return slices.DeleteFunc(slices.Clone(g.Edges), func(e edge) bool { return e.From != name })
}

func (g *graph) isRequired(name string) bool {
	return slices.ContainsFunc(g.Edges, func(e edge) bool { return e.To == name })
}

func (g *graph) label(name string) string {
	i := slices.IndexFunc(g.Nodes, func(n node) bool { return n.Name == name })
	n := g.Nodes[i]
	return strings.Join(slices.DeleteFunc([]string{n.Name, n.Version, "(" + n.State + ")"}, isEmpty), " ")
}

func isEmpty(s string) bool { return s == "" }

// label is what stands at a branch.
func (e edge) label() string {
	if e.Optional {
		return e.Constraint + " (optional)" + e.calls()
	}
	return e.Constraint + e.calls()
}

func (e edge) calls() string {
	if len(e.Services) == 0 {
		return ""
	}
	return ", calls " + strings.Join(e.Services, ", ")
}

// tree draws the modules that nothing requires, each with what it requires below it. What was drawn already is not drawn
// out a second time: that keeps a tree short, and ends a cycle.
func (g *graph) tree(w io.Writer) error {
	var out strings.Builder
	drawn := map[string]bool{}
	draw := func(name string) {
		if !drawn[name] {
			fmt.Fprintln(&out, clean(g.label(name)))
			g.branches(&out, name, "", drawn)
		}
	}
	for _, n := range g.Nodes {
		if !g.isRequired(n.Name) {
			draw(n.Name)
		}
	}
	for _, n := range g.Nodes { // in a cycle each is required
		draw(n.Name)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (g *graph) branches(out io.Writer, name, indent string, drawn map[string]bool) {
	drawn[name] = true
	edges := g.from(name)
	for i, e := range edges {
		joint, below := "├── ", "│   "
		if i == len(edges)-1 {
			joint, below = "└── ", "    "
		}
		again := ""
		if drawn[e.To] && len(g.from(e.To)) > 0 {
			again = ", see above"
		}
		fmt.Fprintln(out, indent+joint+clean(g.label(e.To)+" "+e.label()+again))
		if again == "" {
			g.branches(out, e.To, indent+below, drawn)
		}
	}
}

func (g *graph) dot(w io.Writer) error {
	var out strings.Builder
	out.WriteString("digraph modules {\n")
	for _, n := range g.Nodes {
		fmt.Fprintf(&out, "  %s [label=%s];\n", quoteDOT(n.Name), quoteDOT(g.label(n.Name)))
	}
	for _, e := range g.Edges {
		line := "solid"
		if e.Optional {
			line = "dashed"
		}
		fmt.Fprintf(&out, "  %s -> %s [label=%s, style=%s];\n", quoteDOT(e.From), quoteDOT(e.To),
			quoteDOT(e.Constraint+e.calls()), line)
	}
	out.WriteString("}\n")
	_, err := io.WriteString(w, out.String())
	return err
}

func quoteDOT(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(clean(text)) + `"`
}

func (g *graph) mermaid(w io.Writer) error {
	var out strings.Builder
	out.WriteString("flowchart TD\n")
	ids := map[string]string{}
	for i, n := range g.Nodes {
		ids[n.Name] = fmt.Sprintf("m%d", i) // a name such as "end" means something to mermaid
		fmt.Fprintf(&out, "  %s[%s]\n", ids[n.Name], quoteMermaid(g.label(n.Name)))
	}
	for _, e := range g.Edges {
		arrow := "-->"
		if e.Optional {
			arrow = "-.->"
		}
		fmt.Fprintf(&out, "  %s %s|%s| %s\n", ids[e.From], arrow, quoteMermaid(e.Constraint+e.calls()), ids[e.To])
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func quoteMermaid(text string) string {
	return `"` + strings.NewReplacer(`#`, "#35;", `"`, "#quot;", `<`, "#lt;", `>`, "#gt;").Replace(clean(text)) + `"`
}
