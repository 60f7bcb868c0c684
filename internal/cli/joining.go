package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/spf13/cobra"
)

// joined is the document that -o json prints.
type joined struct {
	Name      string `json:"name"`
	Server    string `json:"server"`
	Version   string `json:"version"`
	Namespace string `json:"namespace"`
	Account   string `json:"account"`
	// Plan is the plan as shown before the question.
	Plan []string `json:"plan"`
	// Expires is when the stored token expires, or nil if no token is stored.
	Expires *time.Time `json:"expires"`
	// State is the remote's final state, or "" if join didn't wait.
	State mirror.State `json:"state"`
	// Error is why the remote isn't Synced, or "".
	Error string `json:"error"`
}

// carryOut shows the plan, asks, creates the access, stores the kubeconfig, and waits.
func (j *joining) carryOut(cmd *cobra.Command) error {
	ctx := cmd.Context()
	found, err := j.Plan(ctx)
	if err != nil {
		return refused(err)
	}
	done := joined{Name: j.Kubeconfig.Remote, Server: j.Kubeconfig.Server, Version: found.Of("version").What, Namespace: j.Kubeconfig.Namespace, Account: j.Kubeconfig.Account, Plan: j.Lines(found)}
	if j.Trust != nil {
		done.Account = j.Trust.User()
	}
	if ok, err := j.approved(cmd, j.notes(cmd, cmd.ErrOrStderr()), done.Plan, done); !ok {
		return err
	}
	encoded, expires, err := j.Make(ctx, j.requestTimeout)
	if err != nil {
		return exitError{err}
	}
	if err := j.Store(ctx, encoded); err != nil {
		return exitError{err}
	}
	done.Expires = expires
	trouble := j.await(cmd, &done)
	if before := j.Before(); before != nil {
		j.Say(fmt.Sprintf("Its previous token is still valid. When %s is Synced, revoke it:\n  %s", j.Kubeconfig.Remote, strings.Join(before, "\n  ")))
	}
	credentials := "No credentials are stored."
	if expires != nil {
		credentials = "Its token expires at " + expires.Format(time.RFC3339) + "."
	}
	text := fmt.Sprintf("Joined %s: its kubeconfig works and is stored in Secret %s. %s\n", j.Kubeconfig.Remote, j.Kubeconfigs, credentials)
	if done.State == mirror.StateSynced {
		text += j.Kubeconfig.Remote + " is Synced.\n"
	}
	if trouble != nil && j.output == "json" {
		done.Error = advise(cmd, trouble.Error())
		j.Say("fernetcast: " + done.Error)
		trouble = exitError{}
	}
	return cmp.Or(printed(cmd, j.output, done, text), trouble)
}

// await waits until the remote has the source's keys, and sets done.State. If the remote isn't
// Synced in time, the error explains why.
func (j *joining) await(cmd *cobra.Command, done *joined) error {
	src, _ := j.source.Seen()
	switch {
	case j.wait == 0:
		return nil
	case src.State() == mirror.SourceStandby:
		j.Say(fmt.Sprintf("This region is a standby (%s). It pushes nothing until you promote it.", src.Detail()))
		return nil
	case src.State() != mirror.SourceMain:
		j.Say("This region is not promoted, so it pushes nothing. To make it the main region: fernetcast promote " + cmp.Or(j.from, "REGION"))
		return nil
	}
	j.Say(fmt.Sprintf("Waiting up to %s for the main region to push the keys to %s.", readable(j.wait), j.Kubeconfig.Remote))
	w := &waiting{session: j.session, names: []string{j.Kubeconfig.Remote}, line: cmd.ErrOrStderr()}
	j.reread(cmd.Context())
	if j.look(cmd.Context(), w.names)[j.Kubeconfig.Remote].Decision.State == mirror.StateSynced {
		if err := j.Request(cmd.Context()); err != nil {
			j.Say("Warning: cannot prove that fernetcast is running: " + mirror.Explain(err))
		}
	}
	err := w.poll(cmd.Context(), j.wait)
	last := "its state is unknown"
	for _, r := range w.last.Remotes {
		done.State, last = r.State, fmt.Sprintf("%s %s", r.State, r.Detail)
	}
	if err != nil {
		return exitError{fmt.Errorf("%s has joined but is not Synced: %s; pods see a new kubeconfig within 90s; is fernetcast running in the main region? See fernetcast status, and the log: %s logs deploy/keystone-api -c fernetcast", j.Kubeconfig.Remote, last, mirror.Kubectl("", j.namespace))}
	}
	return nil
}
