package report

import (
	"bytes"
	_ "embed" // for the template
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

//go:embed page.md.tmpl
var page string

// Write regenerates docs/benchmarks.md and docs/benchmarks.svg below root.
func (r *Result) Write(root string) error {
	text, err := r.page()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"benchmarks.md": text, "benchmarks.svg": r.plot()} {
		path := filepath.Join(root, "docs", name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return fmt.Errorf("write the page: %w (fix: make docs writable)", err)
		}
	}
	return nil
}

func (r *Result) page() ([]byte, error) {
	parsed, err := template.New("page").Funcs(template.FuncMap{"table": markdown}).Parse(page)
	if err != nil {
		return nil, fmt.Errorf("read the page's template: %w", err)
	}
	var text bytes.Buffer
	err = parsed.Execute(&text, map[string]any{
		"Result": r, "Overviews": r.overviews(), "Machine": r.Machine.cells(), "Contestants": r.introductions(),
		"Versions": r.versions(), "Details": r.details(), "Footprint": r.Footprint.cells(),
	})
	if err != nil {
		return nil, fmt.Errorf("fill the page's template: %w", err)
	}
	return text.Bytes(), nil
}

// overviews have a line per scenario and a column per contestant, with ratios: a table for each baseline, as the scenarios of one
// have the same contestants, and follow each other.
func (r *Result) overviews() (all [][][]string) {
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		if i == 0 || r.Scenarios[i-1].Baseline != s.Baseline {
			all = append(all, [][]string{s.head()})
		}
		line := []string{s.Title}
		for j := range s.Rows {
			line = append(line, s.Rows[j].ratio())
		}
		all[len(all)-1] = append(all[len(all)-1], line)
	}
	return all
}

// head is the first line of an overview.
func (s *Scenario) head() []string {
	head := []string{"ratio to " + s.Baseline}
	for i := range s.Rows {
		head = append(head, s.Rows[i].Contestant)
	}
	return head
}

// detail is the table of one scenario.
type detail struct {
	Title string
	Cells [][]string
}

func (r *Result) details() []detail {
	var all []detail
	for i := range r.Scenarios {
		all = append(all, detail{r.Scenarios[i].Title, r.Scenarios[i].cells()})
	}
	return all
}

func (r *Result) introductions() [][]string {
	all := [][]string{{"contestant", "what it is"}}
	for _, about := range r.About {
		all = append(all, []string{"`" + about.Name + "`", about.What})
	}
	return all
}

// versions puts everything on one line.
func (r *Result) versions() string {
	var all []string
	for _, v := range r.Versions {
		all = append(all, v.Name+" "+v.Version)
	}
	return strings.Join(all, ", ")
}

func (m *Machine) cells() [][]string {
	return [][]string{
		{"machine", ""},
		{"CPU", m.CPU},
		{"cores", strconv.Itoa(m.Cores)},
		{"memory", fmt.Sprintf("%d MiB", m.MemoryMiB)},
		{"kernel", m.Kernel},
		{"system", m.System},
		{"Go", m.Go},
	}
}

// cells is empty if nothing was measured.
func (f *Footprint) cells() [][]string {
	if f == nil {
		return nil
	}
	all := [][]string{{"platformd at rest", ""}}
	for _, line := range f.lines() {
		all = append(all, line[:])
	}
	return all
}

// markdown prints a table whose first line is its head, columns but the first aligned to the right if they hold numbers.
func markdown(cells [][]string) string {
	var text strings.Builder
	for i, line := range cells {
		text.WriteString("| " + strings.Join(line, " | ") + " |\n")
		if i == 0 {
			text.WriteString("| --- |" + strings.Repeat(alignment(cells), len(line)-1) + "\n")
		}
	}
	return strings.TrimSuffix(text.String(), "\n")
}

func alignment(cells [][]string) string {
	if len(cells[0]) > 2 {
		return " ---: |"
	}
	return " --- |"
}
