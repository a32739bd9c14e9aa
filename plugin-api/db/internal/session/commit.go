package session

import (
	"sync"

	"gorm.io/gorm"
)

// Commits is what is to be done after a transaction has been committed. The zero value is nothing.
type Commits struct {
	mu   sync.Mutex // guards then
	then map[any]func()
}

// AfterCommit has then called once the transaction is committed, and never if it is not. It is called in the way of whoever
// commits, so it must not block. Of several under one key the last one counts.
func (c *Commits) AfterCommit(key any, then func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.then == nil {
		c.then = map[any]func(){}
	}
	c.then[key] = then
}

// Committed does what is to be done, unless the commit failed, and returns its error.
func (c *Commits) Committed(err error) error {
	c.mu.Lock()
	then := c.then
	c.then = nil
	c.mu.Unlock()
	if err != nil {
		return err
	}
	for _, f := range then {
		f()
	}
	return nil
}

// Transaction is what both databases make of one.
type Transaction interface {
	gorm.TxCommitter
	AfterCommit(key any, then func())
}

// TransactionOf returns the transaction that tx is, or nil if it is none.
func TransactionOf(tx *gorm.DB) Transaction {
	pool := tx.Statement.ConnPool
	if prepared, ok := pool.(*gorm.PreparedStmtTX); ok { // its owner asked for gorm.Session{PrepareStmt: true}
		pool = prepared.Tx
	}
	transaction, _ := pool.(Transaction)
	return transaction
}
