package archive

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

const (
	// ratioFrom is what an archive may become before its ratio counts: an honest, small one may be all repetition.
	ratioFrom = 1 << 20
	// perEntry is what a file or folder may take in the tar beside its content, with an extended header.
	perEntry = 4 << 10
)

// input takes the gzip apart and counts on both sides of it.
type input struct {
	limits     Limits
	compressed *counted
	buffered   *bufio.Reader // gzip would read beyond its end from anything else
	gzip       *gzip.Reader
	out        int64
}

func newInput(ctx context.Context, from io.Reader, limits Limits) (*input, error) {
	in := &input{limits: limits, compressed: &counted{from: reader{ctx, from}, hash: sha256.New(), limit: limits.stream()}}
	in.buffered = bufio.NewReaderSize(in.compressed, 32<<10)
	var err error
	if in.gzip, err = gzip.NewReader(in.buffered); err != nil {
		if errors.Is(err, gzip.ErrHeader) {
			err = refuse("not_a_package", "this is no package: it does not begin like a .tar.gz")
		}
		return nil, diagnose(err)
	}
	in.gzip.Multistream(false) // what follows the first stream is not the package
	return in, nil
}

// stream is how many bytes the tar may have in all.
func (l Limits) stream() int64 { return l.Total + int64(l.Entries)*perEntry + maxChecksums }

// Read implements io.Reader: it reads the tar.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.gzip.Read(p)
	in.out += int64(n)
	switch {
	case in.out > ratioFrom && in.out/in.limits.Ratio > in.compressed.n:
		return n, refuse("ratio", "the package unpacks to more than %d times its size", in.limits.Ratio)
	case in.out > in.limits.stream():
		return n, tooLarge(in.limits)
	}
	return n, err
}

func tooLarge(limits Limits) *Error {
	return &Error{Code: "too_large", Message: refuse("", "the package unpacks to more than %d MiB", limits.Total>>20).Message,
		Fix: "leave out what the module does not need to run, and pack again"}
}

// end makes sure that nothing follows the tar but the zeros that fill its last record.
func (in *input) end() error {
	rest := make([]byte, 4<<10)
	for {
		n, err := in.Read(rest)
		if len(bytes.Trim(rest[:n], "\x00")) > 0 {
			return trailing()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if _, err := in.buffered.ReadByte(); !errors.Is(err, io.EOF) {
		if err == nil {
			return trailing()
		}
		return err
	}
	return nil
}

func trailing() *Error { return refuse("trailing_data", "something follows the end of the package") }

// counted counts and hashes what is read from the archive.
type counted struct {
	from  io.Reader
	hash  hash.Hash
	n     int64
	limit int64
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += int64(n)
	c.hash.Write(p[:n])
	if c.n > c.limit { // empty blocks can go on for ever, and become nothing
		err = refuse("too_large", "the package is larger than what it may unpack to")
	}
	return n, err
}

func (c *counted) sum() string { return hex.EncodeToString(c.hash.Sum(nil)) }

// diagnose makes one of our errors of what the libraries say; errors of the disk, and of the context, stay.
func diagnose(err error) error {
	var ours *Error
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Code: "truncated", Message: "the package ends too early", Fix: again, Err: err}
	case errors.As(err, &corrupt), isDamage(err):
		return &Error{Code: "damaged", Message: "the package is damaged: " + err.Error(), Fix: again, Err: err}
	}
	return err
}
