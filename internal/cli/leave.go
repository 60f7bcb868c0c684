package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fernetcast/fernetcast/internal/access"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// leaveOptions holds the flags of leave.
type leaveOptions struct {
	*options
	change
	remotePlace
	from  string
	local bool
}

func newLeave(all *options) *cobra.Command {
	o := &leaveOptions{options: all}
	cmd := &cobra.Command{
		Use:   "leave NAME",
		Short: "Remove a remote: delete its account and kubeconfig",
		Long: `Removes a remote. You need administrator permissions in both clusters. leave first
deletes this main region's account and permissions in the remote, then the
kubeconfig that is stored here. It keeps the remote's keys and namespace, and the
access of other main regions. If it is interrupted, run it again.

leave uses --remote-context or, by default, the context that is named NAME or that
has the stored address. If that is a different cluster, or the remote cannot be
reached, nothing changes. With --local, leave removes only the kubeconfig here.`,
		Example: `  fernetcast leave dfw --remote-context dfw --dry-run
  fernetcast leave dfw --yes`,
		ValidArgsFunction: o.completeRemote,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("leave requires exactly one NAME")
			}
			if err := checkName(args[0]); err != nil {
				return err
			}
			if o.local && o.remoteContext != "" {
				return errors.New("--local and --remote-context cannot be combined")
			}
			if err := requireTerminal(cmd, o.yes || o.dryRun); err != nil {
				return err
			}
			return o.run(cmd, args[0])
		},
	}
	f := cmd.Flags()
	o.remotePlace.register(cmd)
	f.StringVar(&o.from, "from", "", "name of this region, if no kubeconfig is stored for NAME (default: from the source's mark)")
	f.BoolVar(&o.local, "local", false, "remove only what is stored here")
	o.change.register(cmd)
	choose(cmd, f, &o.output, "output", "o", "text or json", "text", "json")
	return cmd
}

// left is the document that -o json prints.
type left struct {
	Name string   `json:"name"`
	Plan []string `json:"plan"`
	// Deleted lists the objects that were deleted in the remote, such as "ServiceAccount fernetcast-sjc".
	Deleted []string `json:"deleted"`
	// UsedBy is another remote that needs the account, which therefore stays. It is "" if
	// there is none.
	UsedBy string `json:"usedBy"`
}

func (o *leaveOptions) run(cmd *cobra.Command, name string) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	l, err := o.prepare(cmd, name)
	if err != nil {
		return err
	}
	result := left{Name: name, Plan: o.lines(l), Deleted: []string{}}
	if !l.Known() && l.There == nil {
		return o.print(out, result, fmt.Sprintf("Nothing is stored for %s, so there is nothing to remove here. To remove an account in the remote, add --remote-context.", name))
	}
	if l.There != nil {
		defer l.There.Close()
	}
	if ok, err := o.approved(cmd, result.Plan, result); !ok {
		return err
	}
	gone, err := l.Withdraw(ctx)
	if err != nil {
		return withCommands(l, l.There.Context, fmt.Errorf("%s is still stored here, because its account was not completely removed: %w", name, err))
	}
	if err := l.Forget(ctx); err != nil {
		return exitError{fmt.Errorf("removing %s from Secret %s/%s: %s; run the command again", name, o.namespace, l.Kubeconfigs.Name(), mirror.Explain(err))}
	}
	result.Deleted, result.UsedBy = append(result.Deleted, gone...), l.UsedBy
	return o.print(out, result, conclusion(l, gone))
}

// withCommands adds the commands to err that clean up the remote without leave.
func withCommands(l *access.Leave, context string, err error) error {
	if !l.Mine {
		return exitError{fmt.Errorf("%w; to remove only what is stored here: fernetcast leave %s --local", err, l.Remote)}
	}
	return exitError{fmt.Errorf("%w; run the command again, or run:\n  %s\n  fernetcast leave %s --local",
		err, strings.Join(l.Stays(context), "\n  "), l.Remote)}
}

func (o *leaveOptions) print(out io.Writer, result left, text string) error {
	if o.output == "json" {
		return json.NewEncoder(out).Encode(result)
	}
	_, err := fmt.Fprintln(out, text)
	return err
}

// conclusion describes the result for the operator.
func conclusion(l *access.Leave, gone []string) string {
	text := "Removed " + l.Remote + "."
	if len(gone) > 0 {
		text += " Deleted in the remote: " + strings.Join(gone, ", ") + "."
	}
	switch {
	case l.UsedBy != "":
		text += fmt.Sprintf(" Its account stays, because %s is the same cluster.", l.UsedBy)
	case l.Kubeconfig.Keyless():
		text += " Its API servers still accept this main region's tokens, which no longer have permissions: remove the entry from their --authentication-config."
	case len(gone) > 0:
		text += " Tokens of that account are rejected within 10 s."
	}
	return text + " The remote keeps its keys."
}

// prepare reads what is stored. Without --local, it also connects to the remote, and fails if
// that isn't the stored cluster. If nothing is stored and there is no context, There is nil.
func (o *leaveOptions) prepare(cmd *cobra.Command, name string) (*access.Leave, error) {
	ctx := cmd.Context()
	s, err := o.session(cmd)
	if err != nil {
		return nil, err
	}
	here, err := o.stored()
	if err != nil {
		return nil, err
	}
	// If the source can't be read, the region stays unknown.
	if src, _ := s.source.Get(ctx); o.from == "" && src.State() == mirror.SourceMain {
		o.from = src.Owner().Region
	}
	l := &access.Leave{Remote: name, Namespace: o.namespace, Secret: o.secret, Stored: access.Stored{Kubeconfigs: here.entries, Tokens: here.tokens}}
	if err := l.Read(ctx, o.from); err != nil {
		return nil, exitError{fmt.Errorf("nothing was changed: %w", err)}
	}
	if o.local {
		return l, nil
	}
	return l, o.reach(cmd, l)
}

// reach connects to the remote with the operator's context and verifies the cluster's identity.
func (o *leaveOptions) reach(cmd *cobra.Command, l *access.Leave) error {
	there, err := o.contextFor(l.Remote, l.Kubeconfig.Server)
	if err != nil {
		return err
	}
	if there.config == nil {
		if !l.Known() {
			return nil
		}
		return withCommands(l, l.Remote, errors.New("nothing was changed: your kubeconfig has no context for it: specify one with --remote-context"))
	}
	apis, err := o.apis(there.config)
	if err != nil {
		return err
	}
	ca, _ := caOf(there.config) // without a CA, only the address is compared
	l.There = &access.Cluster{APIs: apis, Context: there.context, Server: there.config.Host, CA: ca}
	err = l.Identify(cmd.Context())
	var refusal access.Refusal
	switch {
	case errors.As(err, &refusal):
		return fmt.Errorf("nothing was changed: %w", err)
	case err != nil: // the cluster could be a different one
		return withCommands(l, l.Remote, fmt.Errorf("nothing was changed: %w", err))
	}
	return nil
}

// lines returns the plan.
func (o *leaveOptions) lines(l *access.Leave) (lines []string) {
	account := mirror.Printable(l.Account)
	switch {
	case l.There == nil:
	case l.UsedBy != "":
		lines = append(lines, fmt.Sprintf("keep account %s in the remote: %s is the same cluster and uses it", account, l.UsedBy))
	case !l.Mine:
		lines = append(lines, fmt.Sprintf("keep account %s in the remote: it does not belong to this main region only", cmp.Or(account, "(unknown)")))
	default:
		lines = append(lines, fmt.Sprintf("delete with context %s (%s), in namespace %s: RoleBinding and ServiceAccount %s, and Role %s if nothing else uses it", l.There.Context, l.There.Server, mirror.Printable(l.Namespace), l.Account, access.RoleOf(o.secret)))
	}
	if l.Known() {
		lines = append(lines, fmt.Sprintf("remove %s from Secret %s/%s, so nothing is pushed to it", l.Remote, o.namespace, l.Kubeconfigs.Name()))
	}
	return append(lines, "keep the keys, the namespace, and the policy in the remote")
}
