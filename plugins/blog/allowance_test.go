package main

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
	"github.com/platformd/platformd/plugin-api/db/dbtest"
	"github.com/platformd/platformd/plugin-api/plugintest"
	billingv1 "github.com/platformd/platformd/proto/billing/v1"
)

// plan stands in for billing, with one plan for everybody.
type plan struct {
	billingv1.UnimplementedBillingServiceServer
	limit int64
	down  atomic.Bool
	asked atomic.Int64
	last  atomic.Pointer[string] // who was asked about, on whose behalf, by whom
}

func (p *plan) GetPlan(ctx context.Context, req *billingv1.GetPlanRequest) (*billingv1.GetPlanResponse, error) {
	p.asked.Add(1)
	said := req.GetSubject() + " for " + pluginapi.PrincipalFrom(ctx).ID + " by " + pluginapi.CallerFrom(ctx)
	p.last.Store(&said)
	if p.down.Load() {
		return nil, status.Error(codes.Unavailable, "it restarts, at /run/billing")
	}
	return &billingv1.GetPlanResponse{Name: "Small", PostLimit: p.limit}, nil
}

func billingOf(p *plan) map[string]func(*grpc.Server) {
	return map[string]func(*grpc.Server){"billing": func(s *grpc.Server) { billingv1.RegisterBillingServiceServer(s, p) }}
}

// limited is a blog whose authors may write as many posts as the plan says.
func limited(t *testing.T, database *plugintest.Database, p *plan) *plugintest.Server {
	t.Helper()
	options := allowed(database)
	options.Provide = billingOf(p)
	return plugintest.Start(t, newBlog().module(), options)
}

func TestAPlanLimitsPosts(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		p := &plan{limit: 2}
		blog := limited(t, database, p)
		first := write(t, blog.Client, "one")
		write(t, blog.Client, "two")
		require.Equal(t, "test for test by blog", *p.last.Load())
		refused := blog.Post("/posts", text{Title: "three", Body: "x"})
		require.Equal(t, http.StatusTooManyRequests, refused.Status)
		require.Equal(t, "resource_exhausted", refused.Problem().Code)
		require.Contains(t, refused.Problem().Detail, "the plan Small allows 2 posts")
		require.EqualValues(t, 1, p.asked.Load(), "a plan is asked for once in a while")

		ada := blog.As(pluginapi.Principal{Kind: "user", ID: "ada"}, "blog.*")
		write(t, ada, "of ada")
		require.Equal(t, http.StatusBadRequest, ada.Post("/posts", text{}).Status)
		write(t, ada, "and another")
		require.Equal(t, http.StatusTooManyRequests, ada.Post("/posts", text{Title: "x", Body: "x"}).Status)

		require.Equal(t, http.StatusNoContent, ada.Delete("/posts/"+first.ID).Status, "who deletes is not who wrote")
		require.Equal(t, http.StatusNotFound, ada.Delete("/posts/"+first.ID).Status, "that is no post less")
		write(t, blog.Client, "three")
		require.Equal(t, http.StatusTooManyRequests, blog.Post("/posts", text{Title: "x", Body: "x"}).Status)
		require.Equal(t, http.StatusTooManyRequests, ada.Post("/posts", text{Title: "x", Body: "x"}).Status)
	})
}

// Whoever asks is told of their own allowance, as it is at that moment.
func TestTheAllowanceIsTold(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		p := &plan{limit: 2}
		blog := limited(t, database, p)
		told := func(client *plugintest.Client) (allowance Allowance) {
			answer := client.Get("/allowance")
			require.Equal(t, http.StatusOK, answer.Status, string(answer.Body))
			answer.JSON(&allowance)
			return allowance
		}
		write(t, blog.Client, "one")
		require.Equal(t, Allowance{Plan: "Small", Posts: 1, PostLimit: 2}, told(blog.Client))
		require.Equal(t, "test for test by blog", *p.last.Load())
		ada := blog.As(pluginapi.Principal{Kind: "user", ID: "ada"}, "blog.post.create")
		require.Equal(t, Allowance{Plan: "Small", Posts: 0, PostLimit: 2}, told(ada))
		require.Equal(t, "ada for ada by blog", *p.last.Load())
		require.EqualValues(t, 3, p.asked.Load(), "billing is asked each time")
		p.down.Store(true)
		refused := ada.Get("/allowance")
		require.Equal(t, http.StatusServiceUnavailable, refused.Status)
		require.Contains(t, refused.Problem().Detail, "this needs the module billing")
	})
}

// However many write at once, and however often the posts are counted meanwhile, the plan is kept to, and used up.
func TestThePlanIsKeptExactly(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		module := newBlog()
		options := allowed(database)
		options.Provide = billingOf(&plan{limit: 20})
		blog := plugintest.Start(t, module.module(), options)
		ended := make(chan struct{})
		var expiring sync.WaitGroup
		expiring.Go(func() {
			for {
				select {
				case <-ended:
					return
				case <-time.After(time.Millisecond):
					expire(module.allowances)
				}
			}
		})
		var written, refused atomic.Int64
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 10 {
					switch blog.Post("/posts", text{Title: "x", Body: "x"}).Status {
					case http.StatusCreated:
						written.Add(1)
					case http.StatusTooManyRequests:
						refused.Add(1)
					}
				}
			})
		}
		all.Wait()
		close(ended)
		expiring.Wait()
		require.EqualValues(t, 20, written.Load())
		require.EqualValues(t, 60, refused.Load())
		own, err := db.Open(t.Context(), blog.Core())
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close(own)) }()
		var kept int64
		require.NoError(t, own.Model(&Post{}).Count(&kept).Error)
		require.EqualValues(t, 20, kept)
	})
}

// expire has everything looked up again.
func expire(a *allowances) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, own := range a.byAuthor {
		if own.changing.TryLock() {
			own.until = time.Time{}
			own.changing.Unlock()
		}
	}
}

func TestWithoutBillingTheBlogCanBeRead(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, "blog", func(t *testing.T, database *plugintest.Database) {
		p := &plan{limit: 10}
		module := newBlog()
		options := allowed(database)
		options.Provide = billingOf(p)
		blog := plugintest.Start(t, module.module(), options)
		post := write(t, blog.Client, "one")
		p.down.Store(true)
		write(t, blog.Client, "by what is known of the plan")
		expire(module.allowances)
		refused := blog.Post("/posts", text{Title: "x", Body: "x"})
		require.Equal(t, http.StatusServiceUnavailable, refused.Status)
		require.Contains(t, refused.Problem().Detail, "this needs the module billing")
		require.NotContains(t, string(refused.Body), "/run")
		require.Equal(t, http.StatusOK, blog.Get("/posts/"+post.ID).Status)
		p.down.Store(false)
		write(t, blog.Client, "again")
	})
}

func TestOldAllowancesAreForgotten(t *testing.T) {
	t.Parallel()
	a := newAllowances(nil, nil)
	held := a.hold("held")
	fresh := a.hold("fresh")
	fresh.until = time.Now().Add(time.Hour)
	a.release(fresh)
	for i := range sweepAbove - 2 {
		a.release(a.hold(string(rune(i + 1))))
	}
	a.release(a.hold("one more"))
	require.Len(t, a.byAuthor, 3)
	require.Same(t, held, a.hold("held"))
	require.Same(t, fresh, a.hold("fresh"))
}
