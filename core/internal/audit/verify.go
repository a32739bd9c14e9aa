package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/platformd/platformd/plugin-api/problem"
)

// Mark is a row's number and hash: what to keep elsewhere, to find out whether the chain was made anew.
type Mark struct {
	Seq  int64 `json:"seq"`
	Hash Hash  `json:"hash"`
}

// Expect is what a row is known to have been; the zero value expects nothing.
type Expect = Mark

// String is SEQ:HASH, which ParseMark reads.
func (m Mark) String() string { return strconv.FormatInt(m.Seq, 10) + ":" + m.Hash.String() }

// ParseMark reads SEQ:HASH. An error is a *problem.Problem.
func ParseMark(text string) (m Mark, err error) {
	seq, hash, _ := strings.Cut(text, ":")
	m.Seq, err = strconv.ParseInt(seq, 10, 64)
	if err != nil || m.Seq < 1 || m.Hash.UnmarshalText([]byte(hash)) != nil {
		return Mark{}, problem.Invalid("%.100q is not SEQ:HASH (fix: give what `platformd audit verify` printed as the head)", text)
	}
	return m, nil
}

// Report is what Verify found.
type Report struct {
	Rows     int64  `json:"rows"` // that were looked at, and are right
	FirstSeq int64  `json:"first_seq"`
	LastSeq  int64  `json:"last_seq"`
	Head     Mark   `json:"head"` // the end of the chain; keep it elsewhere
	OK       bool   `json:"ok"`
	Broken   *Break `json:"broken,omitempty"` // the first that is wrong
}

// Break is where the chain is broken.
type Break struct {
	Seq int64  `json:"seq"`
	Why string `json:"why"`
}

func breakAt(seq int64, format string, args ...any) *Break {
	return &Break{Seq: seq, Why: fmt.Sprintf(format, args...)}
}

// BrokenError is what Prune returns instead of removing what is left of the evidence.
type BrokenError struct{ Break }

// Error implements error.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit chain is broken at row %d: %s; nothing was removed from there on "+
		"(fix: see `platformd audit verify`)", e.Seq, e.Why)
}

// Verify reads the whole chain, as it is at this moment, and finds the first row that was edited, removed, added or moved, and
// anchors that were tampered with. want is what was kept elsewhere. It takes as much memory as 1,000 rows do. An error means that
// it could not find out. See the package comment for what this proves.
func (s *Service) Verify(ctx context.Context, want Expect) (report Report, err error) {
	// One moment for all of it: rows are added, and removed, meanwhile.
	err = s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		v := verifier{tx: tx, want: want}
		v.report.Broken, err = v.run()
		report = v.report
		return err
	}, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return Report{}, fmt.Errorf("verify the audit chain: %w", err)
	}
	report.OK = report.Broken == nil
	return report, nil
}

// checker walks along a chain. seq and hash are those of the last row that was right, or of what the chain begins after.
type checker struct {
	seq   int64
	hash  []byte
	begun bool
}

// next looks at one more row.
func (c *checker) next(r *row) *Break {
	switch {
	case r.Seq <= c.seq:
		return breakAt(r.Seq, "it stands before the beginning of the chain, which is after row %d", c.seq)
	case r.Seq != c.seq+1:
		return breakAt(c.seq+1, "it is missing: the next row there is, is %d", r.Seq)
	case r.Version != version:
		return breakAt(r.Seq, "its version %d is not known to this platformd", r.Version)
	case !r.intact():
		return breakAt(r.Seq, "its content is not what its hash was made of")
	case !bytes.Equal(r.PrevHash, c.hash) && c.begun:
		return breakAt(c.seq, "row %d was chained to another hash of it", r.Seq)
	case !bytes.Equal(r.PrevHash, c.hash):
		return breakAt(r.Seq, "it does not follow what came before it")
	}
	c.seq, c.hash, c.begun = r.Seq, r.Hash, true
	return nil
}

// verifier is one run of Verify.
type verifier struct {
	tx     *gorm.DB
	want   Expect
	report Report
	check  checker
	end    head
	last   *anchor // the newest one
	seal   string  // what the row says that tells of last
	sealed bool    // there is such a row
}

func (v *verifier) run() (*Break, error) {
	err := v.tx.Take(&v.end, "id = 1").Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return breakAt(0, "the head of the chain is gone"), nil
	}
	if err != nil {
		return nil, err
	}
	v.report.Head = Mark{Seq: v.end.Seq, Hash: hashOf(v.end.Hash)}
	if broken, err := v.anchors(); broken != nil || err != nil {
		return broken, err
	}
	if broken, err := v.expected(); broken != nil || err != nil {
		return broken, err
	}
	if broken, err := walk(v.tx, v.next, func() bool { return true }); broken != nil || err != nil {
		return broken, err
	}
	return v.ending(), nil
}

// anchors walks along the anchors, and leaves the checker where the chain begins.
func (v *verifier) anchors() (*Break, error) {
	v.check.hash = make([]byte, len(Hash{}))
	link := v.check.hash
	var all []anchor
	for after := int64(0); ; after = all[len(all)-1].N {
		all = nil
		if err := v.tx.Where("n > ?", after).Order("n").Limit(MaxLimit).Find(&all).Error; err != nil || len(all) == 0 {
			return nil, err
		}
		for i := range all {
			if broken := v.anchor(&all[i], link); broken != nil {
				return broken, nil
			}
			link = all[i].Link
		}
	}
}

func (v *verifier) anchor(a *anchor, link []byte) *Break {
	number := int64(1)
	if v.last != nil {
		number = v.last.N + 1
	}
	switch {
	case a.N != number:
		return breakAt(v.check.seq+1, "anchor %d is missing, which says up to where retention removed rows", number)
	case a.Seq <= v.check.seq || !bytes.Equal(a.Link, a.link(link)):
		return breakAt(a.Seq, "anchor %d, which says that retention removed the rows up to here, was changed", a.N)
	}
	v.seal = string(a.seal(v.check.seq + 1))
	v.check.seq, v.check.hash, v.last = a.Seq, a.Hash, a
	return nil
}

// expected compares what rows are not needed for.
func (v *verifier) expected() (*Break, error) {
	switch {
	case v.want.Seq == 0:
		return nil, nil
	case v.want.Seq > v.end.Seq:
		return breakAt(v.want.Seq, "it is missing: the chain ends at %d", v.end.Seq), nil
	case v.want.Seq > v.check.seq:
		return nil, nil
	}
	var kept []anchor
	if err := v.tx.Where("seq = ?", v.want.Seq).Find(&kept).Error; err != nil {
		return nil, err
	}
	if len(kept) == 0 {
		return nil, problem.New(http.StatusConflict, "failed_precondition", fmt.Sprintf(
			"row %d cannot be compared: retention has removed the rows up to %d (fix: expect a later row)", v.want.Seq, v.check.seq))
	}
	return v.compare(v.want.Seq, kept[0].Hash), nil
}

func (v *verifier) compare(seq int64, hash []byte) *Break {
	if seq == v.want.Seq && hashOf(hash) != v.want.Hash {
		return breakAt(seq, "its hash is not the expected one: the chain was made anew from here or from before on")
	}
	return nil
}

func (v *verifier) next(r *row) *Break {
	if r.Seq > v.end.Seq {
		return breakAt(r.Seq, "it is beyond the head of the chain, which is at %d", v.end.Seq)
	}
	if broken := v.check.next(r); broken != nil {
		return broken
	}
	if v.report.Rows == 0 {
		v.report.FirstSeq = r.Seq
	}
	v.report.Rows++
	v.report.LastSeq = r.Seq
	v.sealed = v.sealed || r.Action == ActionPruned && r.ActorKind == KindCore && r.Via == "" && r.Details == v.seal
	return v.compare(r.Seq, r.Hash)
}

// ending compares where the chain ends with where it should.
func (v *verifier) ending() *Break {
	switch {
	case v.check.seq < v.end.Seq:
		return breakAt(v.check.seq+1, "it is missing: the chain goes up to %d", v.end.Seq)
	case !bytes.Equal(v.check.hash, v.end.Hash):
		return breakAt(v.check.seq, "the head of the chain has another hash of it")
	case v.last != nil && !v.sealed:
		return breakAt(v.last.Seq, "no row tells that retention removed the rows up to here")
	}
	return nil
}

// walk hands the rows to look, in order, until that finds a break, a page of 1,000 at a time, as long as more says so.
func walk(tx *gorm.DB, look func(*row) *Break, more func() bool) (*Break, error) {
	for seq := int64(math.MinInt64); more(); {
		var rows []row
		if err := tx.Where("seq > ?", seq).Order("seq").Limit(MaxLimit).Find(&rows).Error; err != nil || len(rows) == 0 {
			return nil, err
		}
		for i := range rows {
			if broken := look(&rows[i]); broken != nil {
				return broken, nil
			}
		}
		seq = rows[len(rows)-1].Seq
	}
	return nil, nil
}
