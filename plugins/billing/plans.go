package main

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/problem"
)

// defaultPlan is the id of the plan of everybody without a subscription; a migration makes it.
const defaultPlan = "default"

// Plan is a row of billing_plans and what clients see of it. A deleted plan's row stays, for the subscriptions of the past.
type Plan struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	PriceCents int64          `json:"price_cents"` // a month
	Currency   string         `json:"currency"`    // ISO 4217
	PostLimit  int64          `json:"post_limit"`  // how many posts its subscribers may have
	CreatedAt  time.Time      `json:"created_at"`
	UpdatedAt  time.Time      `json:"updated_at"`
	DeletedAt  gorm.DeletedAt `json:"-"`
}

// terms are the part of a plan that a client decides.
type terms struct {
	Name       string `json:"name"`
	PriceCents int64  `json:"price_cents"`
	Currency   string `json:"currency"`
	PostLimit  int64  `json:"post_limit"`
}

// listPlans is not paged: an installation has a handful of plans.
func (b *billing) listPlans(w http.ResponseWriter, r *http.Request) error {
	var plans []Plan
	if err := b.db.WithContext(r.Context()).Order("price_cents, id").Find(&plans).Error; err != nil {
		return fmt.Errorf("list plans: %w", err)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, page[Plan]{Items: plans})
}

func (b *billing) createPlan(w http.ResponseWriter, r *http.Request) error {
	terms, err := readTerms(r)
	if err != nil {
		return err
	}
	id, err := newID()
	if err != nil {
		return err
	}
	plan := Plan{
		ID: id, Name: terms.Name, PriceCents: terms.PriceCents, Currency: terms.Currency, PostLimit: terms.PostLimit,
	}
	if err := b.db.WithContext(r.Context()).Create(&plan).Error; err != nil {
		return saveError(err, terms)
	}
	w.Header().Set("Location", b.url("plans", plan.ID))
	return pluginapi.WriteJSON(w, http.StatusCreated, plan)
}

func (b *billing) getPlan(w http.ResponseWriter, r *http.Request) error {
	plan, err := findPlan(b.db.WithContext(r.Context()), r.PathValue("id"))
	if err != nil {
		return err
	}
	return pluginapi.WriteJSON(w, http.StatusOK, plan)
}

func (b *billing) updatePlan(w http.ResponseWriter, r *http.Request) error {
	terms, err := readTerms(r)
	if err != nil {
		return err
	}
	plan := Plan{ID: r.PathValue("id")}
	result := b.db.WithContext(r.Context()).Model(&plan).Clauses(clause.Returning{}).Updates(terms.columns())
	if result.Error != nil {
		return saveError(result.Error, terms)
	}
	if result.RowsAffected == 0 {
		return noPlan(plan.ID)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, plan)
}

// deletePlan looks and deletes in one transaction; whoever subscribes at the same moment waits for its end.
func (b *billing) deletePlan(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	err := b.db.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		plan, err := findPlan(tx.Clauses(clause.Locking{Strength: "UPDATE"}), id)
		if err != nil {
			return err
		}
		if err := checkUnused(tx, plan); err != nil {
			return err
		}
		return tx.Delete(&plan).Error
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func checkUnused(tx *gorm.DB, plan Plan) error {
	if plan.ID == defaultPlan {
		return problem.New(http.StatusConflict, "plan_in_use",
			"this is the plan of everybody without a subscription, which there must be: change it instead")
	}
	var active int64
	err := tx.Model(&Subscription{}).Where("plan_id = ? AND status = ?", plan.ID, statusActive).Count(&active).Error
	if err != nil {
		return fmt.Errorf("count subscriptions: %w", err)
	}
	if active > 0 {
		return problem.New(http.StatusConflict, "plan_in_use",
			fmt.Sprintf("%d active subscriptions are on plan %q: cancel them first", active, plan.Name))
	}
	return nil
}

func findPlan(db *gorm.DB, id string) (plan Plan, err error) {
	err = db.Take(&plan, "id = ?", id).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return Plan{}, noPlan(id)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("find plan: %w", err)
	}
	return plan, nil
}

func noPlan(id string) error {
	return status.Errorf(codes.NotFound, "there is no plan %q: GET plans lists those that are", id)
}

// saveError explains why a plan could not be written.
func saveError(err error, t terms) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return status.Errorf(codes.AlreadyExists, "there is a plan named %q already: choose another name", t.Name)
	}
	return fmt.Errorf("save plan: %w", err)
}

func readTerms(r *http.Request) (t terms, err error) {
	if err := pluginapi.ReadJSON(r, &t); err != nil {
		return terms{}, err
	}
	return t, t.check()
}

// columns names every column, because GORM leaves out the zero values of a struct.
func (t terms) columns() map[string]any {
	return map[string]any{
		"name": t.Name, "price_cents": t.PriceCents, "currency": t.Currency, "post_limit": t.PostLimit,
	}
}

func (t terms) check() error {
	const maxName = 100
	oneLine := strings.TrimSpace(t.Name) != "" && !strings.ContainsFunc(t.Name, unicode.IsControl)
	switch {
	case !oneLine || utf8.RuneCountInString(t.Name) > maxName:
		return status.Errorf(codes.InvalidArgument, "name must be 1 to %d characters in one line", maxName)
	case t.PriceCents < 0:
		return status.Error(codes.InvalidArgument, "price_cents is negative: write 0 for a plan that costs nothing")
	case !currencyRule.MatchString(t.Currency):
		return status.Errorf(codes.InvalidArgument, "currency %q is not an ISO 4217 code: write three capitals such as EUR", t.Currency)
	case t.PostLimit < 1:
		return status.Error(codes.InvalidArgument, "post_limit must be at least 1: say how many posts a subscriber may have")
	}
	return nil
}

var currencyRule = regexp.MustCompile(`^[A-Z]{3}$`)
