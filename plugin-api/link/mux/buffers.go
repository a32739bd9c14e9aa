package mux

import "sync"

// smallBuffers hold what waits of an answer.
var smallBuffers = sync.Pool{New: func() any { return new([maxSmall]byte) }}

// frames are buffers to build a frame in.
var frames = sync.Pool{New: func() any { return new([]byte) }}
