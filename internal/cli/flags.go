package cli

import (
	"context"
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

// completionTime limits how long shell completion can block the prompt.
const completionTime = 1500 * time.Millisecond

const day = 24 * time.Hour

func positive(flag string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s %s: must be above 0", flag, readable(d))
	}
	return nil
}

// checkListen rejects malformed addresses. "" is valid and means: don't listen.
func checkListen(address string) error {
	_, port, err := net.SplitHostPort(address)
	if _, bad := strconv.ParseUint(port, 10, 16); address != "" && (err != nil || bad != nil) {
		return fmt.Errorf("--listen %q: must be HOST:PORT or :PORT, with a port up to 65535", address)
	}
	return nil
}

func checkName(remote string) error {
	if validation.IsDNS1123Label(remote) != nil {
		return fmt.Errorf("%q is not a valid remote name: use 1 to 63 lowercase letters, digits, and hyphens, with no hyphen at the start or end", mirror.Printable(remote))
	}
	return nil
}

// A choice is a flag that accepts a fixed set of values. It implements [pflag.Value].
type choice struct {
	to *string
	of []string
}

// choose registers a [choice] and its completion. The first value is the default.
func choose(cmd *cobra.Command, flags *pflag.FlagSet, to *string, name, short, help string, of ...string) {
	*to = of[0]
	flags.VarP(choice{to, of}, name, short, help)
	complete(cmd, name, cobra.FixedCompletions(of, cobra.ShellCompDirectiveNoFileComp))
}

func (c choice) String() string { return *c.to }

// Type returns the name that --help shows.
func (choice) Type() string { return "string" }

// Set rejects all other values.
func (c choice) Set(value string) error {
	if !slices.Contains(c.of, value) {
		return fmt.Errorf("must be one of %s", strings.Join(c.of, ", "))
	}
	*c.to = value
	return nil
}

// A period is a flag that accepts a duration. It implements [pflag.Value].
type period time.Duration

// periodVar registers a [period].
func periodVar(flags *pflag.FlagSet, to *time.Duration, name string, value time.Duration, help string) {
	*to = value
	flags.Var((*period)(to), name, help)
}

func (p *period) String() string { return readable(time.Duration(*p)) }

// Type returns the name that --help shows.
func (*period) Type() string { return "duration" }

// Set accepts whole days, such as 90d, and everything that [time.ParseDuration] does.
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

// completed returns the results of names, or nothing after an error or a timeout. names can
// run a credential plugin that ignores ctx, so completed abandons its goroutine.
func completed(ctx context.Context, names func(context.Context) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	found := make(chan []string, 1)
	go func() {
		list, err := names(ctx)
		if err != nil {
			list = nil // printing the error would disturb the prompt
		}
		found <- list
	}()
	select {
	case list := <-found:
		return list, cobra.ShellCompDirectiveNoFileComp
	case <-ctx.Done():
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}
