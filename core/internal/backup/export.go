package backup

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// exportName is the last member of an export: it lists the others, so that one that was broken off is known.
const exportName = "export.json"

// exported is export.json.
type exported struct {
	Format    int       `json:"format"`
	Platformd string    `json:"platformd"`
	Module    string    `json:"module"`
	CreatedAt time.Time `json:"created_at"`
	Members   []member  `json:"members"`
}

// Export writes what there is of one module to one file, a tar.gz, for people and their programs: no command reads it back.
type Export struct {
	zip *gzip.Writer
	tar *tar.Writer
	exported
}

// NewExport begins an export. Close must be called for it to be whole.
func NewExport(to io.Writer, module, version string) *Export {
	zip := gzip.NewWriter(to)
	return &Export{zip: zip, tar: tar.NewWriter(zip), exported: exported{
		Format: 1, Platformd: version, Module: module, CreatedAt: time.Now().UTC(),
	}}
}

// File adds the open, regular file that is there under a name. It must not change meanwhile.
func (e *Export) File(name string, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return e.add(name, info.Size(), file)
}

// JSON adds a value.
func (e *Export) JSON(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return e.add(name, int64(len(text)), bytes.NewReader(text))
}

func (e *Export) add(name string, size int64, from io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o600, Size: size, ModTime: e.CreatedAt.Truncate(time.Second)}
	if err := e.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(e.tar, hash), from, size); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	e.Members = append(e.Members, member{Name: name, Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))})
	return nil
}

// Close ends the export.
func (e *Export) Close() error {
	if err := e.JSON(exportName, e.exported); err != nil {
		return err
	}
	return errors.Join(e.tar.Close(), e.zip.Close())
}

// CheckExport reads an export and makes sure that it is whole, and what was put into it.
func CheckExport(from io.Reader) error {
	const fix = " (fix: see that the disk has room and is well, and export again)"
	zip, err := gzip.NewReader(from)
	if err != nil {
		return fmt.Errorf("the export cannot be read: %w"+fix, err)
	}
	var found []member
	for files := tar.NewReader(zip); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("the export was broken off" + fix)
		}
		if err != nil {
			return fmt.Errorf("the export cannot be read: %w"+fix, err)
		}
		if header.Name == exportName {
			return checkMembers(files, found, zip)
		}
		hash := sha256.New()
		size, err := io.Copy(hash, files) //nolint:gosec // what we have just written
		if err != nil {
			return fmt.Errorf("the export cannot be read: %w"+fix, err)
		}
		found = append(found, member{Name: header.Name, Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))})
	}
}

// checkMembers compares what was read with the list, and reads on to the end, where the compression's own checksum is.
func checkMembers(list io.Reader, found []member, rest io.Reader) error {
	var said exported
	if err := json.NewDecoder(io.LimitReader(list, maxContents)).Decode(&said); err != nil {
		return fmt.Errorf("the export's list cannot be read: %w (fix: export again)", err)
	}
	for i, m := range said.Members {
		if i >= len(found) || found[i] != m {
			return fmt.Errorf("%s is not in the export as it was written (fix: see that the disk is well, and export again)", m.Name)
		}
	}
	if _, err := io.Copy(io.Discard, rest); err != nil { //nolint:gosec // as above
		return fmt.Errorf("the export cannot be read: %w (fix: see that the disk is well, and export again)", err)
	}
	return nil
}
