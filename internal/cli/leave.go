package cli

import (
	"errors"
	"fmt"
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
reached, nothing changes. --local removes only the kubeconfig here.`,
		Example: `  fernetcast leave dfw --remote-context dfw --dry-run
  fernetcast leave dfw --yes`,
		ValidArgsFunction: o.completeRemote,
		Args:              one("NAME", remoteName),
		RunE:              o.run,
	}
	f := cmd.Flags()
	o.remotePlace.register(cmd, all)
	textVar(f, &o.from, "from", "", "name of this region, if no kubeconfig is stored for NAME (default: from the source's mark)", mirror.CheckRegion)
	f.BoolVar(&o.local, "local", false, "remove only what is stored in the source's cluster")
	o.change.register(cmd)
	choose(cmd, f, &o.output, "output", "o", "text or json", "text", "json")
	cmd.MarkFlagsMutuallyExclusive("local", "remote-context")
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

func (o *leaveOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.requireTerminal(cmd); err != nil {
		return err
	}
	ctx, name := cmd.Context(), args[0]
	l, err := o.prepare(cmd, name)
	if err != nil {
		return err
	}
	result := left{Name: name, Plan: l.Lines(), Deleted: []string{}}
	if !l.Known() && l.There == nil {
		return exitError{fmt.Errorf("nothing is stored for %s, so there is nothing to remove here; to remove an account in the remote: fernetcast leave %s --remote-context CONTEXT", name, name)}
	}
	if ok, err := o.approved(cmd, o.notes(cmd, cmd.ErrOrStderr()), result.Plan, result); !ok {
		return err
	}
	gone, err := l.Withdraw(ctx)
	if err == nil {
		err = l.Forget(ctx)
	}
	if err != nil {
		return exitError{err}
	}
	result.Deleted, result.UsedBy = append(result.Deleted, gone...), l.UsedBy
	return printed(cmd, o.output, result, conclusion(l, gone)+"\n")
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
		text += " Its API servers still accept this main region's tokens, which have no permissions anymore: remove the entry from their --authentication-config."
	case len(gone) > 0:
		text += " Tokens of that account are rejected within 10s."
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
	stored, err := s.stored()
	if err != nil {
		return nil, err
	}
	if _, err := s.source.Get(ctx); away(err) {
		return nil, refused(errors.New("the source cannot be read: " + o.unread(err)))
	}
	region, unknown := s.region(o.from) // an unreadable source has no region
	l := &access.Leave{Remote: name, Namespace: o.namespace, Secret: o.secret, Stored: stored}
	if err := l.Read(ctx, region); err != nil || o.local {
		return l, refused(err)
	}
	if unknown != nil && l.Known() {
		return nil, refused(fmt.Errorf("%w; to remove only what is stored here: fernetcast leave %s --local", unknown, name))
	}
	there, err := o.place(name, l.Kubeconfig)
	if err != nil && !errors.Is(err, errNoContext) {
		return nil, err
	}
	if err == nil {
		apis, err := o.apis(there.config)
		if err != nil {
			return nil, err
		}
		l.There = &access.Cluster{APIs: apis, Context: there.context}
	}
	return l, refused(l.Identify(ctx))
}
