package storage

import "context"

// Renew does what Run does from time to time.
func (s *Storage) Renew(ctx context.Context) error {
	if on, ok := s.kind.(*server); ok {
		return on.renewAll(ctx)
	}
	return nil
}

// OpenModuleFileWhile is OpenModuleFile with something that happens between the check and the opening.
var OpenModuleFileWhile = openModuleFile
