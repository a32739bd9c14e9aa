package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

const (
	allowanceTTL = 5 * time.Second // how old what is known of an author may be
	planTimeout  = 5 * time.Second // what billing may take
	sweepAbove   = 1000            // authors that are remembered without looking for old ones
)

// allowances are how many posts each author may have, by the plan that billing knows, and how many there are. Both are looked up
// together, at most every few seconds, and the posts counted along in between: neither billing nor the table is asked each time.
//
// Within this process the limit is exact. Several instances, or platforms, do not know of each other's posts until they look
// again: together they may pass the limit by what they write in one allowanceTTL.
type allowances struct {
	db      *gorm.DB
	billing billingv1.BillingServiceClient

	mu       sync.Mutex // guards byAuthor, and the users of each
	byAuthor map[string]*allowance
}

// allowance is one author's.
type allowance struct {
	users int // who hold it now

	// changing is read-locked by who changes the number of posts, and locked by who counts them: a count sees all of a change, or
	// nothing.
	changing sync.RWMutex
	until    time.Time // when it must be looked up again
	plan     string
	limit    int64
	posts    atomic.Int64
}

func newAllowances(db *gorm.DB, billing billingv1.BillingServiceClient) *allowances {
	return &allowances{db: db, billing: billing, byAuthor: map[string]*allowance{}}
}

// write runs work, which adds a post of the author, if the plan allows one more.
func (a *allowances) write(ctx context.Context, author string, work func(context.Context) error) error {
	own := a.hold(author)
	defer a.release(own)
	if err := a.refresh(ctx, author, own); err != nil {
		return err
	}
	defer own.changing.RUnlock()
	if !own.take() {
		return status.Errorf(codes.ResourceExhausted, "the plan %s allows %d posts, which are written: delete some, or subscribe to a "+
			"larger plan", own.plan, own.limit)
	}
	err := work(ctx)
	if err != nil {
		own.posts.Add(-1)
	}
	return err
}

// take counts one more post, if the limit allows it.
func (own *allowance) take() bool {
	for {
		posts := own.posts.Load()
		if posts >= own.limit {
			return false
		}
		if own.posts.CompareAndSwap(posts, posts+1) {
			return true
		}
	}
}

// remove runs work, which deletes a post of the author.
func (a *allowances) remove(ctx context.Context, author string, work func(context.Context) error) error {
	own := a.hold(author)
	defer a.release(own)
	own.changing.RLock()
	defer own.changing.RUnlock()
	err := work(ctx)
	if err == nil {
		own.posts.Add(-1)
	}
	return err
}

// refresh returns with own read-locked, unless there is an error, and not older than it may be.
func (a *allowances) refresh(ctx context.Context, author string, own *allowance) error {
	for {
		own.changing.RLock()
		if time.Now().Before(own.until) {
			return nil
		}
		own.changing.RUnlock()
		if err := a.lookUp(ctx, author, own); err != nil {
			return err
		}
	}
}

func (a *allowances) lookUp(ctx context.Context, author string, own *allowance) error {
	own.changing.Lock()
	defer own.changing.Unlock()
	if time.Now().Before(own.until) {
		return nil // somebody else has
	}
	asking, cancel := context.WithTimeout(ctx, planTimeout)
	defer cancel()
	plan, err := a.planOf(asking, author)
	if err != nil {
		return err
	}
	posts, err := a.postsOf(ctx, author)
	if err != nil {
		return err
	}
	own.plan, own.limit, own.until = plan.GetName(), plan.GetPostLimit(), time.Now().Add(allowanceTTL)
	own.posts.Store(posts)
	return nil
}

func (a *allowances) planOf(ctx context.Context, author string) (*billingv1.GetPlanResponse, error) {
	plan, err := a.billing.GetPlan(ctx, &billingv1.GetPlanRequest{Subject: author})
	if err != nil {
		return nil, fmt.Errorf("ask for the author's plan: %w", err)
	}
	return plan, nil
}

func (a *allowances) postsOf(ctx context.Context, author string) (posts int64, err error) {
	if err := a.db.WithContext(ctx).Model(&Post{}).Where("author_id = ?", author).Count(&posts).Error; err != nil {
		return 0, fmt.Errorf("count the author's posts: %w", err)
	}
	return posts, nil
}

// Allowance is what an author is told of how much they may write.
type Allowance struct {
	Plan      string `json:"plan"`
	Posts     int64  `json:"posts"`      // that are written
	PostLimit int64  `json:"post_limit"` // how many there may be
}

// getAllowance tells a caller of their own. Who looks wants to know what is, not what was a few seconds ago: billing is asked
// each time, for no longer than the request may take.
func (b *blog) getAllowance(w http.ResponseWriter, r *http.Request) error {
	author := pluginapi.PrincipalFrom(r.Context()).ID
	plan, err := b.allowances.planOf(r.Context(), author)
	if err != nil {
		return err
	}
	posts, err := b.allowances.postsOf(r.Context(), author)
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, Allowance{Plan: plan.GetName(), Posts: posts, PostLimit: plan.GetPostLimit()})
}

func (a *allowances) hold(author string) *allowance {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.byAuthor[author]
	if own == nil {
		a.sweep()
		own = &allowance{}
		a.byAuthor[author] = own
	}
	own.users++
	return own
}

func (a *allowances) release(own *allowance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own.users--
}

// sweep forgets authors who have written nothing for a while.
func (a *allowances) sweep() {
	if len(a.byAuthor) < sweepAbove {
		return
	}
	now := time.Now()
	for author, own := range a.byAuthor {
		if own.users == 0 && now.After(own.until) { // nobody else can be at it
			delete(a.byAuthor, author)
		}
	}
}
