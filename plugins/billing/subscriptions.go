package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

// Values of Subscription.Status.
const (
	statusActive   = "active"
	statusCanceled = "canceled"
)

// Subscription is a row of billing_subscriptions and what clients see of it. A subject has at most one active one.
type Subscription struct {
	ID         string     `json:"id"`
	PlanID     string     `json:"plan_id"`
	Subject    string     `json:"subject"` // the id of a principal
	Status     string     `json:"status"`
	CreatedAt  time.Time  `json:"created_at"`
	CanceledAt *time.Time `json:"canceled_at"`
}

// order is what a client asks for.
type order struct {
	PlanID  string `json:"plan_id"`
	Subject string `json:"subject"`
}

// listSubscriptions can be narrowed by ?subject=, ?plan_id= and ?status=.
func (b *billing) listSubscriptions(w http.ResponseWriter, r *http.Request) error {
	window, err := readWindow(r)
	if err != nil {
		return err
	}
	query := b.db.WithContext(r.Context()).Order("id DESC").Limit(window.limit + 1)
	if window.cursor != "" {
		query = query.Where("id < ?", window.cursor)
	}
	if query, err = narrow(query, r.URL.Query()); err != nil {
		return err
	}
	var subscriptions []Subscription
	if err := query.Find(&subscriptions).Error; err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	id := func(s Subscription) string { return s.ID }
	return pluginapi.WriteJSON(w, http.StatusOK, newPage(subscriptions, window.limit, id))
}

// narrow adds the filters that the client asks for.
func narrow(query *gorm.DB, asked url.Values) (*gorm.DB, error) {
	for _, column := range []string{"subject", "plan_id", "status"} {
		value := asked.Get(column)
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) { // not every database can look for it
			return nil, status.Errorf(codes.InvalidArgument, "%s is no text: name what a subscription may have there", column)
		}
		if value != "" {
			query = query.Where(clause.Eq{Column: column, Value: value})
		}
	}
	return query, nil
}

func (b *billing) createSubscription(w http.ResponseWriter, r *http.Request) error {
	order, err := readOrder(r)
	if err != nil {
		return err
	}
	id, err := newID()
	if err != nil {
		return err
	}
	subscription := Subscription{ID: id, PlanID: order.PlanID, Subject: order.Subject, Status: statusActive}
	if err := b.subscribe(b.db.WithContext(r.Context()), &subscription); err != nil {
		return err
	}
	w.Header().Set("Location", b.url("subscriptions", subscription.ID))
	return pluginapi.WriteJSON(w, http.StatusCreated, subscription)
}

// subscribe locks the plan, so that nobody deletes it in the meantime.
func (b *billing) subscribe(db *gorm.DB, s *Subscription) error {
	return db.Transaction(func(tx *gorm.DB) error {
		_, err := findPlan(tx.Clauses(clause.Locking{Strength: "SHARE"}), s.PlanID)
		if status.Code(err) == codes.NotFound {
			return status.Errorf(codes.InvalidArgument, "plan_id: there is no plan %q; GET plans lists those that are", s.PlanID)
		}
		if err != nil {
			return err
		}
		err = tx.Create(s).Error
		if errors.Is(err, gorm.ErrDuplicatedKey) {
			return status.Errorf(codes.AlreadyExists, "%q has an active subscription already: cancel it first", s.Subject)
		}
		if err != nil {
			return fmt.Errorf("save subscription: %w", err)
		}
		return announce(tx, subscriptionCreated, s)
	})
}

func (b *billing) getSubscription(w http.ResponseWriter, r *http.Request) error {
	var subscription Subscription
	id := r.PathValue("id")
	err := b.db.WithContext(r.Context()).Take(&subscription, "id = ?", id).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return noSubscription(id)
	}
	if err != nil {
		return fmt.Errorf("find subscription: %w", err)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, subscription)
}

// cancelSubscription keeps the row. Canceling again changes nothing, so that a client may repeat the request.
func (b *billing) cancelSubscription(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	err := b.db.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		var s Subscription
		err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Take(&s, "id = ?", id).Error
		switch {
		case errors.Is(err, gorm.ErrRecordNotFound):
			return noSubscription(id)
		case err != nil:
			return fmt.Errorf("find subscription: %w", err)
		case s.Status == statusCanceled:
			return nil
		}
		err = tx.Model(&s).Updates(map[string]any{"status": statusCanceled, "canceled_at": tx.NowFunc()}).Error
		if err != nil {
			return fmt.Errorf("cancel subscription: %w", err)
		}
		return announce(tx, subscriptionCanceled, &s)
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func noSubscription(id string) error {
	return status.Errorf(codes.NotFound, "there is no subscription %q: GET subscriptions lists those that are", id)
}

func readOrder(r *http.Request) (o order, err error) {
	if err := pluginapi.ReadJSON(r, &o); err != nil {
		return order{}, err
	}
	const maxSubject = 200
	switch {
	case o.PlanID == "":
		return order{}, status.Error(codes.InvalidArgument, `plan_id is missing: name a plan, such as "default"`)
	case strings.TrimSpace(o.Subject) == "" || len(o.Subject) > maxSubject || strings.ContainsRune(o.Subject, 0):
		return order{}, status.Errorf(codes.InvalidArgument, "subject must be the id of a principal, at most %d bytes", maxSubject)
	}
	return o, nil
}
