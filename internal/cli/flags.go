package cli

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
)

const day = 24 * time.Hour

// one accepts exactly one argument, and only if it is valid. name is the argument's name in the usage.
func one(name string, valid func(string) error) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s requires exactly one %s", cmd.Name(), name)
		}
		return valid(args[0])
	}
}

// similar returns a question with the subcommands that have a similar name, or "". Short names are
// similar only if they start with the same letter.
func similar(parent *cobra.Command, name string) string {
	parent.SuggestionsMinimumDistance = 2
	names := slices.DeleteFunc(parent.SuggestionsFor(name), func(other string) bool { return name == "" || len(name) < 5 && name[0] != other[0] })
	if len(names) > 0 {
		return "did you mean " + strings.Join(names, " or ") + "? "
	}
	return ""
}

// usage formats an error from parsing flags.
func usage(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		value := mirror.Printable(cmp.Or(invalid.GetValue(), `""`))
		if strings.ContainsAny(value, "@?#") { // perhaps a URL with a password or token
			value = "…"
		}
		return fmt.Errorf("--%s %s: %w", invalid.GetFlag().Name, value, invalid.Unwrap())
	}
	return err
}

// A textFlag is a flag that accepts only valid strings, and "" if that is the default. It implements
// [pflag.Value].
type textFlag struct {
	to       *string
	optional bool
	valid    func(string) error
}

// textVar registers a [textFlag].
func textVar(flags *pflag.FlagSet, to *string, name, value, help string, valid func(string) error) {
	*to = value
	flags.Var(textFlag{to, value == "", valid}, name, help)
}

// choose registers a flag that accepts only the given values, and completes them. The first value is the default.
func choose(cmd *cobra.Command, flags *pflag.FlagSet, to *string, name, short, help string, of ...string) {
	*to = of[0]
	flags.VarP(textFlag{to, false, func(value string) error {
		if !slices.Contains(of, value) {
			return fmt.Errorf("must be one of %s", strings.Join(of, ", "))
		}
		return nil
	}}, name, short, help)
	complete(cmd, name, cobra.FixedCompletions(of, cobra.ShellCompDirectiveNoFileComp))
}

func (t textFlag) String() string { return *t.to }

// Type returns the name that --help shows.
func (textFlag) Type() string { return "string" }

// Set rejects invalid values.
func (t textFlag) Set(value string) error {
	*t.to = value
	if value == "" && t.optional {
		return nil
	}
	return t.valid(value)
}

// objectName turns a check from package validation, which returns all reasons why a name is
// invalid, into a check that returns the first reason as an error.
func objectName(reasons func(string) []string) func(string) error {
	return func(name string) error {
		if why := reasons(name); why != nil {
			return errors.New(why[0])
		}
		return nil
	}
}

// remoteName rejects invalid names of remotes.
func remoteName(name string) error {
	if validation.IsDNS1123Label(name) != nil {
		return fmt.Errorf("%q is not a valid remote name: use 1 to 63 lowercase letters, digits, and hyphens, with no hyphen at the start or end", mirror.Printable(name))
	}
	return nil
}

// listenAddress rejects malformed addresses. "" is valid, and means not to listen.
func listenAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if _, bad := strconv.ParseUint(port, 10, 16); address != "" && (err != nil || bad != nil) {
		return errors.New("must be HOST:PORT or :PORT, with a port up to 65535")
	}
	return nil
}

// A period is a flag that accepts a duration. It implements [pflag.Value].
type period time.Duration

// A limited is a period of at least min. It implements [pflag.Value].
type limited struct {
	*period
	min time.Duration
}

// periodVar registers a [limited].
func periodVar(flags *pflag.FlagSet, to *time.Duration, name string, value, min time.Duration, help string) {
	*to = value
	flags.Var(limited{(*period)(to), min}, name, help)
}

// Set rejects shorter durations.
func (l limited) Set(value string) error {
	if err := l.period.Set(value); err != nil {
		return err
	}
	if time.Duration(*l.period) < l.min {
		return fmt.Errorf("must be at least %s", readable(l.min))
	}
	return nil
}

// String returns "0" for zero, which --help doesn't show as a default.
func (p *period) String() string {
	if *p == 0 {
		return "0"
	}
	return readable(time.Duration(*p))
}

// Type returns the name that --help shows.
func (*period) Type() string { return "duration" }

// Set accepts whole days, such as 90d, and everything that [time.ParseDuration] accepts.
func (p *period) Set(value string) error {
	if text, ok := strings.CutSuffix(value, "d"); ok {
		if days, err := strconv.ParseUint(text, 10, 16); err == nil {
			*p = period(time.Duration(days) * day)
			return nil
		}
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return errors.New("must be a duration such as 90d, 36h, or 2m")
	}
	*p = period(d)
	return nil
}

// readable formats a duration without zero units, such as 90d or 2m.
func readable(d time.Duration) string {
	if d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// complete sets the completion for an existing flag.
func complete(cmd *cobra.Command, flag string, with cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, with); err != nil {
		panic(err) // the flag doesn't exist, which is a bug
	}
}
