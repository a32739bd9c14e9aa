package db_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

type note struct {
	ID   string `gorm:"primaryKey"`
	Text string
}

// example is a module's database, which the platform would have prepared.
func example() (*gorm.DB, func()) {
	dir, err := os.MkdirTemp("", "example")
	must(err)
	core := pluginapi.NewCore(pluginapi.Core{Name: "blog", Database: pluginapi.Database{
		Driver: "sqlite", Source: filepath.Join(dir, "blog.db"), TablePrefix: "blog_", Events: true,
	}}, nil, nil)
	conn, err := db.Open(context.Background(), core)
	must(err)
	must(conn.AutoMigrate(&note{}))
	return conn, func() { must(errors.Join(db.Close(conn), os.RemoveAll(dir))) }
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// An event is published if, and only if, the change that it tells of is kept.
func ExamplePublish() {
	conn, end := example()
	defer end()
	err := conn.Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&note{ID: "7", Text: "hello"}).Error; err != nil {
			return err
		}
		return db.Publish(tx, pluginapi.Event{
			Type: "blog.note.written", Version: 1, Key: "7", Subject: "note/7", Data: []byte(`{"id":"7"}`),
		})
	})
	fmt.Println(err)
	// Output: <nil>
}

// An event that comes twice has its effect once.
func ExampleOnce() {
	conn, end := example()
	defer end()
	handle := func(ctx context.Context, e pluginapi.Event) error {
		return db.Once(ctx, conn, e, func(tx *gorm.DB) error {
			return tx.Create(&note{ID: e.Subject, Text: string(e.Data)}).Error
		})
	}
	e := pluginapi.Event{
		ID: "1", Source: "/modules/billing", Type: "billing.plan.changed", Version: 1, Subject: "plan/3", Data: []byte(`{"price":5}`),
	}
	fmt.Println(handle(context.Background(), e), handle(context.Background(), e))
	var notes int64
	must(conn.Model(&note{}).Count(&notes).Error)
	fmt.Println(notes)
	// Output:
	// <nil> <nil>
	// 1
}
