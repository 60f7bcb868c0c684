package cli

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// suggested matches a command in a message, up to the next punctuation mark. A command after "-- "
// runs in a pod.
var suggested = regexp.MustCompile("(?:-- )?fernetcast (check|join|leave|promote|push|recover|renew|status|wait)\\b([^;,:`\"\n]*)|" +
	`kubectl (?:--context ('[^']*'|\S+)|--namespace |apply )`)

// advise adds the flags of the running command to each command that text suggests, so that an operator
// can type it as shown. Messages name only the command and its own arguments. kubectl with --context is
// for a remote, and otherwise for the source's cluster.
func advise(cmd *cobra.Command, text string) string {
	return suggested.ReplaceAllStringFunc(text, func(command string) string {
		part := suggested.FindStringSubmatch(command)
		switch verb, arguments, context := part[1], part[2], part[3]; {
		case strings.HasPrefix(command, "-- "):
			return command
		case verb != "":
			return suggestion(cmd, verb, arguments)
		case context != "":
			return "kubectl" + holder(cmd, strings.Trim(context, "'")) + strings.TrimPrefix(command, "kubectl")
		}
		return "kubectl" + inUse(cmd, "kubeconfig", "context", "as") + strings.TrimPrefix(command, "kubectl")
	})
}

// suggestion returns one of our own commands with the flags in use.
func suggestion(cmd *cobra.Command, verb, arguments string) string {
	global := []string{"kubeconfig", "context", "as", "namespace", "secret", "clusters"}
	setsUp := []string{"join", "leave", "renew"} // these require kubeconfigs in a Secret, and share --from
	if slices.Contains(setsUp, verb) && !strings.HasPrefix(cmd.Flag("clusters").Value.String(), secretPrefix) {
		global = global[:len(global)-1]
	}
	name := ""
	if words := strings.Fields(arguments); len(words) > 0 && !strings.HasPrefix(words[0], "-") && verb != "status" {
		name = words[0]
		arguments = strings.TrimPrefix(arguments, " "+name)
	}
	var own []string
	target, _, _ := cmd.Root().Find([]string{verb})
	for flag, fits := range map[string]bool{
		"from":              slices.Contains(setsUp, verb) && slices.Contains(setsUp, cmd.Name()),
		"identity":          verb != "join" || strings.Contains(arguments, "--keyless"),
		"remote-context":    !strings.Contains(arguments, "--local") && name == cmp.Or(cmd.Flags().Arg(0), "NAME"),
		"remote-kubeconfig": !strings.Contains(arguments, "--local"),
	} {
		if fits && target.Flags().Lookup(flag) != nil && !strings.Contains(arguments, "--"+flag) {
			own = append(own, flag)
		}
	}
	slices.Sort(own)
	if name != "" {
		name = " " + name
	}
	return cmd.Root().DisplayName() + inUse(cmd, global...) + " " + verb + name + inUse(cmd, own...) + arguments
}

// inUse returns the named flags that the operator set for the running command, quoted for a shell.
func inUse(cmd *cobra.Command, names ...string) (flags string) {
	for _, name := range names {
		if f := cmd.Flag(name); f != nil && f.Changed && f.Value.String() != "" {
			flags += " --" + name + " " + mirror.Quote(f.Value.String())
		}
	}
	return flags
}

// holder returns kubectl's flag for the kubeconfig, among those given to the running command, that
// has a remote's context. It returns "" if none of them has it.
func holder(cmd *cobra.Command, context string) string {
	for _, name := range []string{"remote-kubeconfig", "kubeconfig"} {
		if f := cmd.Flag(name); f != nil && f.Value.String() != "" {
			if raw, err := contexts(f.Value.String()); err == nil && raw.Contexts[context] != nil {
				return " --kubeconfig " + mirror.Quote(f.Value.String())
			}
		}
	}
	return ""
}

var jsonString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// adviseJSON is like advise for the strings in a JSON document.
func adviseJSON(cmd *cobra.Command, document []byte) []byte {
	return jsonString.ReplaceAllFunc(document, func(literal []byte) []byte {
		var text string
		if json.Unmarshal(literal, &text) != nil || !suggested.MatchString(text) {
			return literal
		}
		advised, _ := json.Marshal(advise(cmd, text)) // encoding a string can't fail
		return advised
	})
}
