package main

import (
	"time"

	"gorm.io/gorm"

	pluginapi "github.com/platformd/platformd/plugin-api"
	"github.com/platformd/platformd/plugin-api/db"
)

// migrations are applied in this order, each once and for ever: add steps, never change one that was released. Each step
// declares its own structs, because Post and Comment will change and the past must not change with them.
func migrations() *pluginapi.Migrations {
	return db.Migrations(
		db.Migration{ID: "0001_posts", Up: createPosts, Down: dropPosts},
		db.Migration{ID: "0002_comments", Up: createComments, Down: dropComments},
		db.Migration{ID: "0003_posts_by_author", Up: indexPostsByAuthor, Down: dropPostsByAuthor},
	)
}

func createPosts(tx *gorm.DB) error {
	type Post struct {
		ID        string    `gorm:"primaryKey;size:36"`
		Title     string    `gorm:"size:200;not null"`
		Body      string    `gorm:"not null"`
		Author    string    `gorm:"not null"`
		AuthorID  string    `gorm:"not null"`
		CreatedAt time.Time `gorm:"not null"`
		UpdatedAt time.Time `gorm:"not null"`
	}
	return tx.Migrator().CreateTable(&Post{})
}

func dropPosts(tx *gorm.DB) error {
	type Post struct{ ID string }
	return tx.Migrator().DropTable(&Post{})
}

func createComments(tx *gorm.DB) error {
	type Post struct {
		ID string `gorm:"primaryKey;size:36"`
	}
	type Comment struct {
		ID        string    `gorm:"primaryKey;size:36;index:,composite:post,priority:2"`
		PostID    string    `gorm:"size:36;not null;index:,composite:post,priority:1"`
		Post      Post      `gorm:"constraint:OnDelete:CASCADE"`
		Body      string    `gorm:"not null"`
		Author    string    `gorm:"not null"`
		AuthorID  string    `gorm:"not null"`
		CreatedAt time.Time `gorm:"not null"`
	}
	return tx.Migrator().CreateTable(&Comment{})
}

func dropComments(tx *gorm.DB) error {
	type Comment struct{ ID string }
	return tx.Migrator().DropTable(&Comment{})
}

// indexPostsByAuthor lets an author's posts be counted.
func indexPostsByAuthor(tx *gorm.DB) error {
	type Post struct {
		AuthorID string `gorm:"index"`
	}
	return tx.Migrator().CreateIndex(&Post{}, "AuthorID")
}

func dropPostsByAuthor(tx *gorm.DB) error {
	type Post struct {
		AuthorID string `gorm:"index"`
	}
	return tx.Migrator().DropIndex(&Post{}, "AuthorID")
}
