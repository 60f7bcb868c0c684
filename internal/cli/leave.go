package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// leaveOptions are the flags of leave alone.
type leaveOptions struct {
	*options
	remotePlace
	from               string
	local, dryRun, yes bool
}

func newLeave(all *options) *cobra.Command {
	o := &leaveOptions{options: all}
	cmd := &cobra.Command{
		Use:   "leave NAME",
		Short: "Take a region out again: the kubeconfig here, the account there",
		Long: `Takes back what join has made: first the kubeconfig that is stored here, so that
nothing is pushed to NAME any more, then this main's account and rights there,
with an operator's rights. It deletes neither the keys there nor a namespace, and
another main that has let NAME in goes on. Given again, it ends what was begun.

Your context of NAME is --remote-context, else the one called NAME, else one that
leads to the stored address. If it leads to a different cluster from the
one stored, nothing is changed. With --local nothing is done there.`,
		Example: `  fernetcast leave dfw --remote-context dfw --dry-run
  fernetcast leave dfw --yes`,
		ValidArgsFunction: o.completeRemote,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("leave takes one NAME")
			}
			if err := checkName(args[0]); err != nil {
				return err
			}
			if o.local && o.remoteContext != "" {
				return errors.New("--local and --remote-context contradict each other")
			}
			if err := asks(cmd, o.yes || o.dryRun); err != nil {
				return err
			}
			return o.run(cmd, args[0])
		},
	}
	f := cmd.Flags()
	o.remotePlace.register(cmd)
	f.StringVar(&o.from, "from", "", "region of this main, where nothing is stored of NAME any more (default: that of its mark)")
	f.BoolVar(&o.local, "local", false, "take back what is here alone")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, and end")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

func (o *leaveOptions) run(cmd *cobra.Command, name string) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	l, known, there, err := o.prepare(cmd, name)
	if err != nil {
		return err
	}
	if !known && (o.local || there.config == nil) {
		fmt.Fprintf(out, "Nothing is stored of %s, so there is nothing to take back here. If an account is left there: --remote-context.\n", name)
		return nil
	}
	plan := cmd.ErrOrStderr()
	if o.dryRun {
		plan = out
	}
	for _, line := range o.lines(l, known, there) {
		fmt.Fprintln(plan, line)
	}
	if o.dryRun {
		return nil
	}
	if !o.yes && !confirmed(ctx, cmd) {
		return exitError{errors.New("nothing was changed")}
	}
	if err := l.Forget(ctx); err != nil {
		return exitError{fmt.Errorf("nothing was changed in %s: removing its entry here: %s", name, mirror.Explain(err))}
	}
	gone, err := o.withdraw(ctx, l, there)
	if err != nil {
		if there.config == nil || l.Unidentified != nil { // it may be another cluster's
			there.context = name
		}
		return exitError{fmt.Errorf("%s is not pushed to any more, and its account there stays: %w; give the command again, or, in %s:\n  %s\nand then: fernetcast leave %s --local", name, err, name, strings.Join(l.Stays(there.context), "\n  "), name)}
	}
	if err := l.Done(ctx); err != nil {
		return exitError{fmt.Errorf("%s is taken out, but a note of it stays in Secret %s/%s; give the command again: %s", name, o.namespace, l.Entries.Name(), mirror.Explain(err))}
	}
	fmt.Fprintf(out, "%s is taken out.", name)
	if len(gone) > 0 {
		fmt.Fprintf(out, " Deleted there: %s.", strings.Join(gone, ", "))
	}
	switch {
	case l.UsedBy != "":
		fmt.Fprintf(out, " Its account there stays, because %s is the same cluster.", l.UsedBy)
	case l.Keyless:
		fmt.Fprint(out, " Its API servers still know this main's tokens, which may do nothing there now: take the entry out of their --authentication-config.")
	case len(gone) > 0:
		fmt.Fprint(out, " A token of that account is refused within 10 s.")
	}
	fmt.Fprintln(out, " The keys there stay as they are.")
	return nil
}

// prepare finds what is stored, and the operator's way there; the way is zero where
// there is none.
func (o *leaveOptions) prepare(cmd *cobra.Command, name string) (*access.Leave, bool, place, error) {
	ctx := cmd.Context()
	s, err := o.session(cmd)
	if err != nil {
		return nil, false, place{}, err
	}
	here, err := o.stored()
	if err != nil {
		return nil, false, place{}, err
	}
	l := &access.Leave{Remote: name, Namespace: o.namespace, Secret: o.secret, Entries: here.entries, Tokens: here.tokens}
	stored, known, err := l.Stored(ctx)
	if err != nil {
		return nil, false, place{}, exitError{fmt.Errorf("nothing was changed: %w", err)}
	}
	if stored.Namespace != "" {
		l.Namespace = stored.Namespace
	}
	// What cannot be read has no region.
	if src, _ := s.source.Get(ctx); o.from == "" && src.State() == mirror.SourceMain {
		o.from = src.Owner().Region
	}
	l.Account = stored.Account
	if o.from != "" && l.Account == "" {
		l.Account = access.AccountOf(o.from, o.secret)
	}
	if o.local {
		return l, known, place{}, nil
	}
	there, err := o.wayTo(name, stored.Server)
	if err != nil || there.config == nil {
		return l, known, there, err
	}
	apis, err := o.apis(there.config)
	if err != nil {
		return nil, false, place{}, err
	}
	defer apis.Close()
	ca, _ := caOf(there.config) // a file that cannot be read tells nothing
	if err := l.Identify(ctx, access.Cluster{APIs: apis, Context: there.context, Server: there.config.Host, CA: ca}); err != nil {
		return nil, false, place{}, fmt.Errorf("nothing was changed: %w", err)
	}
	return l, known, there, nil
}

// lines say what will be done.
func (o *leaveOptions) lines(l *access.Leave, known bool, there place) (lines []string) {
	if known {
		lines = append(lines, fmt.Sprintf("%s is taken out of Secret %s/%s: nothing is pushed there any more", l.Remote, o.namespace, l.Entries.Name()))
	}
	switch {
	case o.local:
	case there.config == nil:
		lines = append(lines, fmt.Sprintf("your kubeconfig has no context of %s: what is there stays", l.Remote))
	case l.Unidentified != nil:
		lines = append(lines, fmt.Sprintf("what is there stays: %v", l.Unidentified))
	case l.UsedBy != "":
		lines = append(lines, fmt.Sprintf("its account there, %s, stays: %s is the same cluster, and uses it", mirror.Printable(l.Account), l.UsedBy))
	case !o.own(l.Account):
		lines = append(lines, fmt.Sprintf("its account there, %s, stays: it is not this main's alone", mirror.Printable(cmp.Or(l.Account, "which is not known"))))
	default:
		lines = append(lines, fmt.Sprintf("deleted by context %s (%s), in namespace %s: RoleBinding and ServiceAccount %s, and Role %s if nobody else has it", there.context, there.cluster.Server, mirror.Printable(l.Namespace), l.Account, access.RoleOf(o.secret)))
	}
	return append(lines, "the keys there, the namespace and the policy stay")
}

// own says whether an account is this main's alone: one that join has made for it.
func (o *leaveOptions) own(account string) bool {
	if o.from != "" {
		return account == access.AccountOf(o.from, o.secret)
	}
	return access.Own(account)
}

func (o *leaveOptions) withdraw(ctx context.Context, l *access.Leave, there place) ([]string, error) {
	switch {
	case o.local || !o.own(l.Account):
		return nil, nil
	case there.config == nil:
		return nil, errors.New("your kubeconfig has no context of it: name one with --remote-context")
	case l.Unidentified != nil || l.UsedBy != "":
		return nil, l.Unidentified
	}
	apis, err := o.apis(there.config)
	if err != nil {
		return nil, err
	}
	defer apis.Close()
	return l.Withdraw(ctx, apis)
}
