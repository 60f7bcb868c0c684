package kubeconfig

import (
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// endings are the file name extensions that a kubeconfig can have, or "" for no extension. New
// entries get the first one.
var endings = []string{".yaml", ".yml", ".kubeconfig", ""}

// EntryOf returns the name of a remote's kubeconfig in entries. If it isn't there, EntryOf returns
// the name for a new entry.
func EntryOf(entries map[string][]byte, remote string) string {
	for _, ending := range endings {
		if entries[remote+ending] != nil {
			return remote + ending
		}
	}
	return remote + endings[0]
}

// RemoteOf returns the remote that an entry or a file belongs to. For a hidden file, it returns "".
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

// LeftOf returns the name of the hidden entry that leave stores when it removes a remote. A later
// join deletes that entry.
func LeftOf(remote string) string { return "." + remote + ".left" }

// maxQuoted is how many bytes of a name are printed.
const maxQuoted = 64

// Quoted returns a name in quotation marks, in printable ASCII. It shortens a long name and appends
// a checksum, so that different names stay distinguishable.
func Quoted(name string) string {
	if len(name) <= maxQuoted {
		return strconv.QuoteToASCII(name)
	}
	return fmt.Sprintf("%+q...%08x", name[:maxQuoted], crc32.ChecksumIEEE([]byte(name)))
}
