package host

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/platformd/platformd/core/internal/cache"
	corev1 "github.com/platformd/platformd/proto/platform/core/v1"
)

type cacheServer struct {
	corev1.UnimplementedCacheServer
	*caller
	cache cache.Cache
}

// Get implements corev1.CacheServer.
func (s *cacheServer) Get(ctx context.Context, req *corev1.GetRequest) (*corev1.GetResponse, error) {
	value, found, err := s.cache.Get(ctx, req.GetKey())
	if err != nil {
		return nil, s.failed(err)
	}
	return &corev1.GetResponse{Found: found, Value: value}, nil
}

// Set implements corev1.CacheServer.
func (s *cacheServer) Set(ctx context.Context, req *corev1.SetRequest) (*corev1.SetResponse, error) {
	if err := s.cache.Set(ctx, req.GetKey(), req.GetValue(), req.GetTtl().AsDuration()); err != nil {
		return nil, s.failed(err)
	}
	return &corev1.SetResponse{}, nil
}

// Delete implements corev1.CacheServer.
func (s *cacheServer) Delete(ctx context.Context, req *corev1.DeleteRequest) (*corev1.DeleteResponse, error) {
	if err := s.cache.Delete(ctx, req.GetKey()); err != nil {
		return nil, s.failed(err)
	}
	return &corev1.DeleteResponse{}, nil
}

// Increment implements corev1.CacheServer.
func (s *cacheServer) Increment(ctx context.Context, req *corev1.IncrementRequest) (*corev1.IncrementResponse, error) {
	sum, err := s.cache.Increment(ctx, req.GetKey(), req.GetDelta(), req.GetTtl().AsDuration())
	if err != nil {
		return nil, s.failed(err)
	}
	return &corev1.IncrementResponse{Value: sum}, nil
}

// CompareAndSet implements corev1.CacheServer.
func (s *cacheServer) CompareAndSet(ctx context.Context, req *corev1.CompareAndSetRequest) (
	*corev1.CompareAndSetResponse, error,
) {
	swapped, err := s.cache.CompareAndSet(ctx, req.GetKey(), cache.Exchange{
		Old: req.Expected, New: req.GetValue(), TTL: req.GetTtl().AsDuration(), //nolint:protogetter // nil: it must not be there
	})
	if err != nil {
		return nil, s.failed(err)
	}
	return &corev1.CompareAndSetResponse{Swapped: swapped}, nil
}

func (s *cacheServer) failed(err error) error {
	switch {
	case errors.Is(err, cache.ErrUnavailable), errors.Is(err, cache.ErrClosed):
		return status.Error(codes.Unavailable, "the cache is away: go on without it")
	case errors.Is(err, cache.ErrNotNumber):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, cache.ErrOverflow):
		return status.Error(codes.OutOfRange, err.Error())
	}
	return s.refused("the cache cannot be used", err)
}
