package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/logonce"
	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/probe"
	"github.com/fernetcast/fernetcast/internal/telemetry"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/wait"
)

// probeOptions holds the flags of probe.
type probeOptions struct {
	*options
	cloud, from, output string
	endpoints           []string
	settings            probe.Options
	matrix, watch       bool
	wait, every         time.Duration
	listen              string
}

func newProbe(all *options) *cobra.Command {
	o := &probeOptions{options: all}
	cmd := &cobra.Command{
		Use:   "probe [REGION...]",
		Short: "Test whether each region accepts the main region's tokens",
		Long: `Signs in at the main region's Keystone with your OpenStack credentials, and shows the
new token to each region's Keystone, or only to those named. The credentials come from
clouds.yaml or the OS_* variables. Any user with a role in a project is enough. The
endpoints come from the catalog.

A token is proof that a region works: its Secret can be Synced although its Keystone
doesn't use it. NOTE compares each refused token with the Secrets. With --matrix, each
region also signs in and shows its own token to all others, which finds a region that
rotates its own keys.

The exit code is 1 unless every region accepts every token.`,
		Example: `  fernetcast probe --os-cloud production
  fernetcast probe --os-cloud production --matrix --wait 5m
  fernetcast probe --listen :9467 --every 1m`,
		RunE: o.run,
	}
	f := cmd.Flags()
	f.StringVar(&o.cloud, "os-cloud", "", "cloud in clouds.yaml (default: $OS_CLOUD, then the OS_* variables)")
	choose(cmd, f, &o.settings.Interface, "os-interface", "", "public, internal, or admin endpoints (default: as in clouds.yaml, otherwise public)", "", "public", "internal", "admin")
	f.StringArrayVar(&o.endpoints, "endpoint", nil, "identity endpoint of a region, instead of the catalog's: `REGION=URL` (repeatable)")
	textVar(f, &o.from, "from", "", "region that signs the token (default: the main region, otherwise the cloud's region)", mirror.CheckRegion)
	f.BoolVar(&o.matrix, "matrix", false, "test the tokens of each region in all regions")
	choose(cmd, f, &o.output, "output", "o", "table or json", "table", "json")
	f.BoolVarP(&o.watch, "watch", "w", false, "repeat every --every, and print the results that change")
	periodVar(f, &o.wait, "wait", 0, 0, "repeat until every region accepts every token, for at most this time")
	periodVar(f, &o.every, "every", watchEvery, time.Second, "interval of --watch, --wait, and --listen (with --listen, the default is 1m)")
	textVar(f, &o.listen, "listen", "", "address for /livez, /readyz, and /metrics; repeats until SIGTERM and reads no Secrets", listenAddress)
	cmd.MarkFlagsMutuallyExclusive("watch", "wait", "listen")
	o.identityFlag(cmd)
	return cmd
}

// probing is one execution of probe.
type probing struct {
	*probe.Prober
	home   string // the region that signs the token
	to     []string
	from   []string
	states map[string]mirror.RemoteStatus // by region; a region is missing if its Secret wasn't read
	// lacking are the results of remotes without an endpoint.
	lacking []row
}

func (o *probeOptions) run(cmd *cobra.Command, names []string) error {
	log := o.logger(cmd)
	creds, err := probe.Load(o.cloud)
	if err != nil {
		return err
	}
	o.settings.UserAgent, o.settings.Timeout = userAgent(), o.requestTimeout
	o.settings.Endpoints = map[string]string{}
	for _, endpoint := range o.endpoints {
		region, address, _ := strings.Cut(endpoint, "=")
		if mirror.CheckRegion(region) != nil || address == "" {
			return fmt.Errorf("--endpoint %s: must be REGION=URL", mirror.Printable(region))
		}
		o.settings.Endpoints[region] = address
	}
	if o.listen != "" {
		if !cmd.Flags().Changed("every") {
			o.every = time.Minute
		}
		return o.serve(cmd.Context(), names, log)
	}
	p, err := o.open(cmd.Context(), creds, names, o.secrets(cmd, log))
	if err != nil {
		return exitError{err}
	}
	defer p.Close()
	write := p.table(cmd.OutOrStdout())
	if o.output == "json" {
		write = p.json(cmd.OutOrStdout())
	}
	good := false
	round := func(ctx context.Context) (bool, error) {
		good = p.round(ctx, func(r row, last bool) {
			r.Note = advise(cmd, r.Note)
			write(r, last)
		})
		return good && !o.watch, ctx.Err()
	}
	switch {
	case o.watch:
		_ = wait.PollUntilContextCancel(cmd.Context(), o.every, true, round)
	case o.wait > 0:
		_ = wait.PollUntilContextTimeout(cmd.Context(), o.every, o.wait, true, round)
	default:
		_, _ = round(cmd.Context())
	}
	if !good {
		return exitError{}
	}
	return nil
}

// secrets returns the status of the Secrets. Without it, probe still works.
func (o *probeOptions) secrets(cmd *cobra.Command, log *slog.Logger) mirror.Status {
	s, err := o.options.open(cmd)
	if err != nil {
		log.Warn("cannot read the Secrets; showing only Keystone's responses", "error", err)
		return mirror.Status{}
	}
	return s.status(s.look(cmd.Context(), s.set.Names()))
}

// open signs in, and chooses the named regions or, without names, all regions in the catalog. A
// remote that is missing from the catalog counts as failed.
func (o *probeOptions) open(ctx context.Context, creds probe.Credentials, names []string, st mirror.Status) (_ *probing, err error) {
	p := &probing{states: map[string]mirror.RemoteStatus{}}
	if p.Prober, err = probe.Open(ctx, creds, o.settings); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	if st.Source.State == mirror.SourceMain {
		p.home = st.Source.Region
	}
	signer := cmp.Or(o.from, p.home, creds.Region)
	if signer == "" {
		return nil, errors.New("cannot determine the main region: specify it with --from REGION")
	}
	if p.home, err = p.region(signer); err != nil {
		return nil, err
	}
	for _, r := range st.Remotes {
		region, err := p.region(r.Name)
		if err != nil && len(names) == 0 {
			p.lacking = append(p.lacking, row{mirror.Probe{From: p.home, To: r.Name, Verdict: mirror.Failed, Detail: err.Error()}, string(r.State), err.Error()})
		}
		p.states[region] = r
	}
	p.to = p.Regions()
	if len(names) > 0 {
		p.to = nil
	}
	for _, name := range names {
		region, err := p.region(name)
		if err != nil {
			return nil, err
		}
		p.to = append(p.to, region)
	}
	p.from = []string{p.home}
	if o.matrix {
		p.from = p.to
	}
	if len(p.from) > maxMatrix {
		return nil, fmt.Errorf("--matrix tests at most %d regions, not %d: name some of them", maxMatrix, len(p.from))
	}
	return p, nil
}

// maxMatrix is the maximum number of regions for --matrix. It also limits how many tokens each
// Keystone validates at once.
const maxMatrix = 50

func (p *probing) region(name string) (string, error) {
	if region, ok := p.Region(name); ok {
		return region, nil
	}
	return "", fmt.Errorf("the catalog has no identity endpoint for region %s: add it to the catalog, or specify --endpoint %s=URL; regions with one: %s", name, name, cmp.Or(strings.Join(p.Regions(), ", "), "none"))
}

// A row is the result of a probe, with the state of the Secret and an explanation.
type row struct {
	mirror.Probe
	State string `json:"state"` // the state of To's Secret; "" if the Secret wasn't read
	Note  string `json:"note"`
}

// A probeDocument is the output of probe -o json, and has the results of one round.
type probeDocument struct {
	Results []row `json:"results"`
}

// round probes once, and reports whether every region accepted every token.
func (p *probing) round(ctx context.Context, write func(row row, last bool)) bool {
	good := len(p.lacking) == 0
	for _, r := range p.lacking {
		write(r, false)
	}
	p.Run(ctx, p.from, p.to, func(r mirror.Probe) {
		if ctx.Err() == nil {
			good = good && r.Verdict == mirror.Accepted
			write(row{r, string(p.states[r.To].State), cmp.Or(r.Detail, r.Explain(p.home, p.states))}, false)
		}
	})
	write(row{}, true)
	return good && ctx.Err() == nil
}

// table writes each result as soon as it arrives. In later rounds, it writes only results whose
// verdict has changed.
func (p *probing) table(out io.Writer) func(row, bool) {
	width := len("FROM")
	for _, region := range slices.Concat(p.from, p.to) {
		width = max(width, len(region))
	}
	seen := map[[2]string]mirror.Verdict{}
	accepted := ""
	return func(r row, last bool) {
		if last {
			n := 0
			for _, v := range seen {
				if v == mirror.Accepted {
					n++
				}
			}
			if text := fmt.Sprintf("%d of %d accepted", n, len(p.from)*len(p.to)+len(p.lacking)); text != accepted {
				fmt.Fprintln(out, text)
				accepted = text
			}
			return
		}
		if len(seen) == 0 {
			fmt.Fprintf(out, "%-*s  %-*s  RESULT       TIME     STATE        NOTE\n", width, "FROM", width, "TO")
		}
		if pair := [2]string{r.From, r.To}; seen[pair] != r.Verdict {
			seen[pair] = r.Verdict
			line := fmt.Sprintf("%-*s  %-*s  %-11s  %-7s  %-11s  %s", width, r.From, width, cmp.Or(r.To, "-"), r.Verdict,
				time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond), cmp.Or(r.State, "-"), r.Note)
			fmt.Fprintln(out, strings.TrimRight(line, " "))
		}
	}
}

// json writes all results of a round as one document.
func (p *probing) json(out io.Writer) func(row, bool) {
	rows := []row{}
	return func(r row, last bool) {
		if !last {
			rows = append(rows, r)
			return
		}
		slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
		_ = json.NewEncoder(out).Encode(probeDocument{rows}) // the exit code shows the verdict anyway
		rows = []row{}
	}
}

// serve probes every minute, and exports the results as metrics until ctx ends. Each round signs in
// again, so that a new catalog or new credentials take effect.
func (o *probeOptions) serve(ctx context.Context, names []string, log *slog.Logger) error {
	metrics := telemetry.NewProbeMetrics(release())
	server := telemetry.Server{Address: o.listen, Ready: func() bool { return true }, Metrics: metrics.Handler(), Log: log}
	last := map[[2]string]mirror.Verdict{}
	var failing logonce.Text
	var parts sync.WaitGroup
	parts.Go(func() { server.Run(ctx) })
	_ = wait.PollUntilContextCancel(ctx, o.every, true, func(ctx context.Context) (bool, error) {
		results, err := o.once(ctx, names)
		if failing.ErrorChanged(err) && err != nil && ctx.Err() == nil {
			log.Warn("cannot probe; retrying", "error", err)
		}
		metrics.Probed(results)
		for _, r := range results {
			if pair := [2]string{r.From, r.To}; last[pair] != r.Verdict {
				last[pair] = r.Verdict
				log.Info("probed", "from", r.From, "to", r.To, "result", r.Verdict, "detail", r.Detail)
			}
		}
		return false, nil
	})
	parts.Wait()
	return nil
}

// once signs in and returns the results of one round.
func (o *probeOptions) once(ctx context.Context, names []string) (results []mirror.Probe, err error) {
	creds, err := probe.Load(o.cloud)
	if err != nil {
		return nil, err
	}
	p, err := o.open(ctx, creds, names, mirror.Status{})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	p.Run(ctx, p.from, p.to, func(r mirror.Probe) { results = append(results, r) })
	return results, ctx.Err()
}
