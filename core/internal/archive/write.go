package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Source is a file that is to be packed.
type Source struct {
	// Name is what it is called in the package.
	Name       string
	Executable bool
	// Path is where it is, unless Content is given.
	Path    string
	Content []byte
}

// Write packs files, to which it adds checksums.txt. The same files make the same bytes, wherever and whenever they are packed:
// they are sorted, belong to nobody and have no time. A name that cannot be in a package is an *Error. Whether a reader takes the
// whole is for Verify to say.
func Write(ctx context.Context, to io.Writer, sources []Source) error {
	described, err := describe(ctx, sources)
	if err != nil {
		return err
	}
	compressed, err := gzip.NewWriterLevel(to, gzip.BestCompression)
	if err != nil {
		return err
	}
	out := tar.NewWriter(compressed)
	for _, d := range described {
		if err := d.write(ctx, out); err != nil {
			return fmt.Errorf("pack %s: %w", d.Name, err)
		}
	}
	if err := errors.Join(out.Close(), compressed.Close()); err != nil {
		return fmt.Errorf("write the package: %w (fix: see that the disk has room)", err)
	}
	return nil
}

// described is a file of which it is known what goes into the package.
type described struct {
	Source
	size int64
	sum  string
}

// describe reads the files a first time, as their checksums come before them, and returns them in the order of the package.
func describe(ctx context.Context, sources []Source) ([]described, error) {
	limits, names, all := DefaultLimits(), newIndex(), sums{}
	var files []described
	for _, s := range sources {
		if why := badName(s.Name, limits.Path); why != "" {
			return nil, nameError(s.Name, why)
		}
		if err := names.add(s.Name); err != nil {
			return nil, err
		}
		d, err := describeOne(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", s.Name, err)
		}
		all[s.Name] = d.sum
		files = append(files, d)
	}
	if err := names.add(ChecksumsFile); err != nil {
		return nil, err
	}
	text := all.text()
	files = append(files, described{Source: Source{Name: ChecksumsFile, Content: text}, size: int64(len(text))})
	slices.SortFunc(files, func(a, b described) int { return strings.Compare(rank(a.Name), rank(b.Name)) })
	return files, nil
}

// rank puts first what a reader must know before the rest.
func rank(name string) string {
	switch name {
	case ChecksumsFile:
		return ""
	case ManifestFile:
		return " "
	}
	return name
}

func describeOne(ctx context.Context, s Source) (described, error) {
	in, err := s.open()
	if err != nil {
		return described{}, err
	}
	defer in.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, reader{ctx, in})
	return described{Source: s, size: size, sum: hex.EncodeToString(hash.Sum(nil))}, err
}

func (s Source) open() (io.ReadCloser, error) {
	if s.Path == "" {
		return io.NopCloser(bytes.NewReader(s.Content)), nil
	}
	return Open(s.Path)
}

func (d described) write(ctx context.Context, out *tar.Writer) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: d.Name, Size: d.size, Mode: 0o644}
	if d.Executable {
		header.Mode = 0o755
	}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	in, err := d.open()
	if err != nil {
		return err
	}
	defer in.Close()
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(out, hash), io.LimitReader(reader{ctx, in}, d.size))
	if err != nil {
		return err
	}
	if size != d.size || d.sum != "" && hex.EncodeToString(hash.Sum(nil)) != d.sum {
		return errors.New("it has changed meanwhile (fix: pack again when nothing writes to the folder)")
	}
	return nil
}
