package main

import (
	"errors"
	"fmt"
	"net/http"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
)

// Usage is a row of billing_usages and what clients see of it: what a principal has used of their plan.
type Usage struct {
	Subject string `json:"subject" gorm:"primaryKey;size:255"`
	Posts   int64  `json:"posts"` // written so far
}

// getUsage answers 0 for who has used nothing: whether there is such a principal is not known here.
func (b *billing) getUsage(w http.ResponseWriter, r *http.Request) error {
	usage := Usage{Subject: r.PathValue("subject")}
	err := b.db.WithContext(r.Context()).Take(&usage, "subject = ?", usage.Subject).Error
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return fmt.Errorf("find the usage: %w", err)
	}
	return pluginapi.WriteJSON(w, http.StatusOK, usage)
}
