package host

import (
	"context"
	"encoding/json"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/audit"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

// maxDetails bounds an audit row's details as JSON, in bytes.
const maxDetails = 4 << 10

type auditServer struct {
	corev1.UnimplementedAuditServer
	*caller
}

// Write implements corev1.AuditServer.
func (s *auditServer) Write(ctx context.Context, req *corev1.WriteRequest) (*corev1.WriteResponse, error) {
	ticket, known, err := s.onBehalfOf(ctx)
	if err != nil {
		return nil, err
	}
	entry, err := s.entry(req)
	if err != nil {
		return nil, err
	}
	entry.Actor, entry.RequestID = s.actor(ticket, known), ticket.RequestID
	if err := s.deps.Audit.Write(ctx, entry); err != nil {
		return nil, s.refused("the audit log cannot be written", err)
	}
	return &corev1.WriteResponse{}, nil
}

func (s *auditServer) entry(req *corev1.WriteRequest) (audit.Entry, error) {
	outcome, ok := map[corev1.Outcome]audit.Outcome{
		corev1.Outcome_OUTCOME_DONE: audit.Done, corev1.Outcome_OUTCOME_DENIED: audit.Denied,
		corev1.Outcome_OUTCOME_FAILED: audit.Failed,
	}[req.GetOutcome()]
	switch {
	case req.GetAction() == "":
		return audit.Entry{}, status.Error(codes.InvalidArgument, "name the action, for example post.publish")
	case !ok:
		return audit.Entry{}, status.Error(codes.InvalidArgument, "say how the action ended: done, denied or failed")
	}
	details, err := json.Marshal(req.GetDetails())
	if err != nil || len(details) > maxDetails {
		return audit.Entry{}, errors.Join(err, status.Errorf(codes.InvalidArgument, "the details have more than %d bytes", maxDetails))
	}
	return audit.Entry{
		Via: s.manifest.Name, Action: s.manifest.Name + "." + req.GetAction(), Resource: req.GetResource(), Outcome: outcome,
		Details: details,
	}, nil
}
