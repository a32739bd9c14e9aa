package archive

import (
	"bytes"
	"debug/elf"
	"debug/macho"
	"encoding/binary"
	"path"
	"slices"
	"strings"
)

// HeadSize is how many of an executable's first bytes tell what it is for.
const HeadSize = 64

// Script is the platform of a file that begins with #!: any that has its interpreter.
const Script = "script"

// Platforms are those that a package may have an executable for, sorted.
func Platforms() []string {
	var all []string
	for arch := range elfMachines() {
		all = append(all, "linux/"+arch)
	}
	for _, arch := range machoCPUs() {
		all = append(all, "darwin/"+arch)
	}
	slices.Sort(all)
	return all
}

// ExecutableName is where a package keeps the executable of a module for a platform.
func ExecutableName(platform, module string) string {
	return "bin/" + strings.ReplaceAll(platform, "/", "_") + "/" + module
}

// PlatformOf tells by its first bytes what an executable is made for: linux/amd64, Script, or "" if that is nothing we know.
func PlatformOf(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("#!")):
		return Script
	case bytes.HasPrefix(head, []byte(elf.ELFMAG)) && len(head) >= 20:
		return platformOfELF(head)
	case len(head) >= 8 && binary.LittleEndian.Uint32(head) == macho.Magic64:
		if arch := machoCPUs()[macho.Cpu(binary.LittleEndian.Uint32(head[4:]))]; arch != "" {
			return "darwin/" + arch
		}
	}
	return ""
}

func platformOfELF(head []byte) string {
	switch elf.OSABI(head[elf.EI_OSABI]) {
	case elf.ELFOSABI_NONE, elf.ELFOSABI_LINUX:
	default:
		return "" // another Unix
	}
	var endian binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		endian = binary.BigEndian
	}
	for arch, machine := range elfMachines() {
		if elf.Machine(endian.Uint16(head[18:])) == machine {
			return "linux/" + arch
		}
	}
	return ""
}

// elfMachines maps the architectures that modules are built for to their names in an ELF header.
func elfMachines() map[string]elf.Machine {
	return map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM,
		"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH}
}

func machoCPUs() map[macho.Cpu]string {
	return map[macho.Cpu]string{macho.CpuAmd64: "amd64", macho.CpuArm64: "arm64"}
}

// platformOfName is the platform in bin/linux_amd64/blog. Other files within such a folder are refused: which of them would a
// platform need?
func platformOfName(name string) (platform string, err *Error) {
	if !strings.HasPrefix(name, "bin/") {
		return "", nil
	}
	for _, platform := range Platforms() {
		folder := path.Dir(ExecutableName(platform, "x")) + "/"
		if file, within := strings.CutPrefix(name, folder); within {
			if strings.Contains(file, "/") {
				return "", refuse("bad_layout", "%q: %s holds the module's executable alone", name, folder)
			}
			return platform, nil
		}
	}
	return "", nil
}

// checkHead compares an executable with the platform that its name gives.
func checkHead(f File, head []byte) *Error {
	switch made := PlatformOf(head); made {
	case f.Platform, Script:
		return nil
	case "":
		return &Error{Code: "wrong_platform", Message: f.Name + " is no executable for " + f.Platform,
			Fix: "pack the module again, with an executable for each platform"}
	default:
		return &Error{Code: "wrong_platform", Message: f.Name + " is an executable for " + made + ", not for " + f.Platform,
			Fix: "pack the module again, with an executable for each platform"}
	}
}
