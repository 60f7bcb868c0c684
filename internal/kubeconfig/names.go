package kubeconfig

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// endings are those that a kubeconfig's file or entry may have, the usual one first.
var endings = []string{".yaml", ".yml", ".kubeconfig", ""}

// EntryOf returns the name that a remote's kubeconfig has among entries, or will have.
func EntryOf(entries map[string][]byte, remote string) string {
	for _, ending := range endings {
		if entries[remote+ending] != nil {
			return remote + ending
		}
	}
	return remote + endings[0]
}

// RemoteOf returns the remote of an entry or a file; "" for a hidden one, which has none.
func RemoteOf(entry string) string {
	if strings.HasPrefix(entry, ".") {
		return ""
	}
	for _, ending := range endings {
		if name, ok := strings.CutSuffix(entry, ending); ok {
			return name
		}
	}
	return ""
}

// maxQuoted is how many bytes of a name are printed.
const maxQuoted = 64

// Quoted returns a name in quotation marks and printable ASCII. A long name is cut, and a
// checksum tells it apart from others.
func Quoted(name string) string {
	if len(name) <= maxQuoted {
		return strconv.QuoteToASCII(name)
	}
	return fmt.Sprintf("%+q...%08x", name[:maxQuoted], crc32.ChecksumIEEE([]byte(name)))
}
