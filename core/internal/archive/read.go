package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/platformd/platformd/plugin-api/manifest"
)

func isDamage(err error) bool {
	return errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, gzip.ErrChecksum) ||
		errors.Is(err, gzip.ErrHeader)
}

// reading is a package that is being read.
type reading struct {
	limits Limits
	tar    *tar.Reader
	to     *target

	entries int
	seen    *index
	listed  sums
	pkg     *Package
}

func read(ctx context.Context, from io.Reader, to *target, o Options) (*Package, error) {
	in, err := newInput(ctx, from, o.limits())
	if err != nil {
		return nil, err
	}
	r := &reading{limits: o.limits(), tar: tar.NewReader(in), to: to, seen: newIndex(), pkg: &Package{}}
	err = r.all()
	if err == nil {
		err = in.end()
	}
	if err != nil {
		return nil, diagnose(err)
	}
	r.pkg.SHA256, r.pkg.Size = in.compressed.sum(), in.compressed.n
	return r.pkg, nil
}

func (r *reading) all() error {
	if err := r.checksums(); err != nil {
		return err
	}
	if err := r.manifest(); err != nil {
		return err
	}
	for {
		header, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := r.file(header, r.tar); err != nil {
			return err
		}
	}
	if missing := r.missing(); missing != "" {
		return refuse("missing_file", "%s names %q, which is not in the package", ChecksumsFile, missing)
	}
	slices.SortFunc(r.pkg.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// next goes to the next file. Folders are in their files' names already.
func (r *reading) next() (*tar.Header, error) {
	for {
		header, err := r.tar.Next()
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // of which we judge ourselves
			return nil, err
		}
		if r.entries++; r.entries > r.limits.Entries {
			return nil, refuse("too_many_entries", "the package has more than %d files and folders", r.limits.Entries)
		}
		if err := r.check(header); err != nil {
			return nil, err
		}
		if header.Typeflag == tar.TypeReg {
			return header, nil
		}
	}
}

// check judges an entry by its header alone.
func (r *reading) check(h *tar.Header) error {
	if err := checkType(h); err != nil {
		return err
	}
	name := h.Name
	if h.Typeflag == tar.TypeDir {
		name = strings.TrimSuffix(name, "/")
	}
	if why := badName(name, r.limits.Path); why != "" {
		return nameError(h.Name, why)
	}
	if h.Mode&^0o777 != 0 {
		return refuse("special_mode", "%q is setuid, setgid or sticky (mode %o)", h.Name, h.Mode)
	}
	if h.Typeflag == tar.TypeDir {
		return nil
	}
	if err := r.seen.add(name); err != nil {
		return err
	}
	if h.Size > r.limits.File {
		return refuse("too_large", "%q is larger than %d MiB", h.Name, r.limits.File>>20)
	}
	return nil
}

func checkType(h *tar.Header) error {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") { // it could claim to be of any size
			return refuse("bad_entry_type", "%q is a sparse file", h.Name)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
		return nil
	case tar.TypeSymlink:
		return refuse("symlink", "%q is a symbolic link", h.Name)
	case tar.TypeLink:
		return refuse("hard_link", "%q is a hard link", h.Name)
	case tar.TypeChar, tar.TypeBlock:
		return refuse("device", "%q is a device", h.Name)
	case tar.TypeFifo:
		return refuse("fifo", "%q is a named pipe", h.Name)
	}
	return refuse("bad_entry_type", "%q is neither a file nor a folder, but of type %q", h.Name, h.Typeflag)
}

func (r *reading) checksums() error {
	header, err := r.next()
	if errors.Is(err, io.EOF) {
		return refuse("empty", "the package is empty")
	}
	if err != nil {
		return err
	}
	if header.Name != ChecksumsFile {
		return refuse("no_checksums", "the package does not begin with %s but with %q", ChecksumsFile, header.Name)
	}
	if header.Size > maxChecksums {
		return refuse("too_large", "%s is larger than %d MiB", ChecksumsFile, maxChecksums>>20)
	}
	text, err := io.ReadAll(r.tar)
	if err != nil {
		return err
	}
	listed, bad := parseSums(text, r.limits)
	if bad != nil {
		return bad
	}
	r.listed = listed
	return nil
}

// manifest reads module.yaml, which says what the rest must be.
func (r *reading) manifest() error {
	header, err := r.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err != nil || header.Name != ManifestFile {
		return refuse("no_manifest", "%s is not the second file of the package", ManifestFile)
	}
	text, err := io.ReadAll(io.LimitReader(r.tar, manifest.MaxSize+1))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	if len(text) <= manifest.MaxSize && hex.EncodeToString(sum[:]) != r.listed[ManifestFile] {
		return mismatch(ManifestFile)
	}
	if r.pkg.Manifest, err = manifest.Parse(ManifestFile, text); err != nil {
		message, fix, _ := strings.Cut(err.Error(), "\nfix: ")
		fix, _, _ = strings.Cut(fix, "\n")
		return &Error{Code: "bad_manifest", Message: "the package's manifest: " + message, Fix: fix + ", and pack again", Err: err}
	}
	if r.pkg.Platforms, err = layout(r.listed, r.pkg.Manifest, r.to.platform); err != nil {
		return err
	}
	return r.file(header, bytes.NewReader(text))
}

// file checks one file and hands it on.
func (r *reading) file(header *tar.Header, content io.Reader) error {
	listed := r.listed[header.Name]
	if listed == "" {
		return refuse("unlisted", "%q is not in %s", header.Name, ChecksumsFile)
	}
	platform, bad := platformOfName(header.Name)
	if bad != nil {
		return bad
	}
	f := File{Name: header.Name, Size: header.Size, SHA256: listed, Platform: platform,
		Executable: header.Mode&0o111 != 0 || platform != ""}
	if r.pkg.Unpacked += f.Size; r.pkg.Unpacked > r.limits.Total {
		return tooLarge(r.limits)
	}
	out, err := r.to.create(&f, r.pkg.Manifest.Runtime.Executable)
	if err != nil {
		return err
	}
	hash, head := sha256.New(), &header64{}
	_, err = io.Copy(io.MultiWriter(out, hash, head), content)
	if err := errors.Join(err, out.Close()); err != nil {
		return unpacking(f.Name, err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != listed {
		return mismatch(f.Name)
	}
	if platform != "" {
		if bad := checkHead(f, head.bytes); bad != nil {
			return bad
		}
	}
	r.pkg.Files = append(r.pkg.Files, f)
	return nil
}

func mismatch(name string) *Error {
	return refuse("checksum_mismatch", "%q has another checksum than %s says", name, ChecksumsFile)
}

// missing returns a file that has been promised and did not come.
func (r *reading) missing() string {
	there := map[string]bool{}
	for _, f := range r.pkg.Files {
		there[f.Name] = true
	}
	for _, name := range r.listed.names() {
		if !there[name] {
			return name
		}
	}
	return ""
}

// header64 keeps the first bytes of what is written to it.
type header64 struct{ bytes []byte }

// Write implements io.Writer.
func (h *header64) Write(p []byte) (int, error) {
	h.bytes = append(h.bytes, p[:min(len(p), HeadSize-len(h.bytes))]...)
	return len(p), nil
}
