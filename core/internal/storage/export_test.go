package storage

import "context"

// Renew does what Run does from time to time.
func (s *Storage) Renew(ctx context.Context) error { return s.kind.(*server).renewAll(ctx) }

// OpenModuleFileWhile is OpenModuleFile with something that happens between the check and the opening.
var OpenModuleFileWhile = openModuleFile
