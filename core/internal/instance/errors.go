package instance

// HostError marks a launch that failed before any code of the module ran: for want of processes, descriptors or disk, or
// because its executable is being replaced. It is no fault of the module's.
type HostError struct{ Err error }

// Error implements error.
func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap serves errors.Is and errors.As.
func (e *HostError) Unwrap() error { return e.Err }
