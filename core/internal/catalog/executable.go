package catalog

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// takeExecutable checks the module's binary and records its checksum. dir is the real path of the module's folder.
func (m *Module) takeExecutable(dir string) error {
	shown := filepath.Join(m.Dir, filepath.FromSlash(m.Manifest.Runtime.Executable))
	path := filepath.Join(dir, filepath.FromSlash(m.Manifest.Runtime.Executable))
	if _, err := os.Lstat(path); err != nil {
		return &Error{Code: "executable_missing", Err: err, Message: fmt.Sprintf("the executable %s is not there", shown),
			Fix: "build the module, or correct runtime.executable in its " + manifestFile}
	}
	target, err := inside(dir, path)
	if err != nil {
		return err
	}
	f, err := openRegular(target)
	if err != nil {
		return &Error{Code: "executable_not_a_file", Err: err, Message: fmt.Sprintf("the executable %s: %v", shown, err),
			Fix: "build the module, or correct runtime.executable in its " + manifestFile}
	}
	defer f.Close()
	if err := checkExecutable(f, shown); err != nil {
		return err
	}
	m.Executable = target
	m.SHA256, err = checksum(f)
	return err
}

func checkExecutable(f *os.File, shown string) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("check the executable: %w", err)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return &Error{Code: "executable_not_executable", Message: fmt.Sprintf("%s may not be executed: %s", shown, info.Mode()),
			Fix: "chmod +x " + shown}
	}
	if wrong := foreign(f, runtime.GOOS, runtime.GOARCH); wrong != "" {
		return &Error{Code: "executable_wrong_architecture",
			Message: fmt.Sprintf("%s is %s; this is %s/%s", shown, wrong, runtime.GOOS, runtime.GOARCH),
			Fix:     fmt.Sprintf("build it with GOOS=%s GOARCH=%s", runtime.GOOS, runtime.GOARCH)}
	}
	return nil
}

func checksum(f *os.File) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("compute the checksum of %s: %w", f.Name(), err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// openRegular opens a regular file, and refuses anything else without waiting for it, as a FIFO would have us do.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("this is not a regular file but %s", kind(info.Mode()))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func kind(mode fs.FileMode) string {
	if mode.IsDir() {
		return "a folder"
	}
	return "a special file (" + mode.String() + ")"
}

// elfHeader is how much of an ELF file tells what it is for: up to e_machine, at 18.
const elfHeader = 20

// foreign says what an executable is that cannot run here; empty if it can, or if nobody can tell. Only Linux's own format
// is read: elsewhere the kernel's answer at launch must do.
func foreign(r io.ReaderAt, goos, goarch string) string {
	head := make([]byte, elfHeader)
	n, _ := r.ReadAt(head, 0) // a short file is told by its length
	machine, known := machines()[goarch]
	switch {
	case goos != "linux" || !known || bytes.HasPrefix(head[:n], []byte("#!")):
		return ""
	case n < elfHeader || !bytes.HasPrefix(head, []byte(elf.ELFMAG)):
		return "neither an ELF binary nor a script that begins with #!"
	}
	var endian binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		endian = binary.BigEndian
	}
	if got := elf.Machine(endian.Uint16(head[18:])); got != machine {
		return "made for " + got.String()
	}
	return ""
}

// machines maps the architectures that platformd is built for to their names in an ELF header.
func machines() map[string]elf.Machine {
	return map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM,
		"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH}
}
