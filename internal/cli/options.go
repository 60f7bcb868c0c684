package cli

import (
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"github.com/fernetcast/fernetcast/internal/setup"
	"github.com/fernetcast/fernetcast/internal/show"
	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

const (
	defaultDirectory = "/etc/fernetcast/clusters"
	defaultTokens    = "/etc/fernetcast/tokens"
	secretPrefix     = "secret/"
	defaultSecret    = secretPrefix + "fernetcast-clusters"
	// usualIdentity is the account of manifests/identity.
	usualIdentity = "fernetcast-identity"
)

// version is set when a release is built: -ldflags "-X …/internal/cli.version=v1.2.3".
var version = "dev"

func userAgent() string { return "fernetcast/" + release() }

// release returns the version of the release, or of the module that go install built.
func release() string {
	info, ok := debug.ReadBuildInfo()
	if version != "dev" || !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return version
	}
	return info.Main.Version
}

// options are the flags of all commands.
type options struct {
	kubeconfig, context string
	namespace, secret   string
	clusters            string
	identity            string
	requestTimeout      time.Duration
	logLevel, logFormat string
	home                home
}

// home is the source's cluster, once it is connected to.
type home struct {
	mu     sync.Mutex
	config *rest.Config
	apis   *setup.APIs
}

func (o *options) register(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the source's cluster (default: in-cluster, then $KUBECONFIG, then ~/.kube/config)")
	f.StringVar(&o.context, "context", "", "context in that kubeconfig (default: its current context)")
	complete(root, "context", completeContexts(&o.kubeconfig))
	f.StringVar(&o.namespace, "namespace", "openstack", "namespace of the Secret, in the source's cluster and in each remote whose kubeconfig sets no namespace")
	f.StringVar(&o.secret, "secret", "keystone-fernet-keys", "name of the Secret that contains the keys")
	f.StringVar(&o.clusters, "clusters", "", "kubeconfigs of the remotes: a directory or, except for run, secret/NAME in the source's namespace\n"+
		"(default: "+defaultDirectory+" if it exists or for run, otherwise "+defaultSecret+")")
	periodVar(f, &o.requestTimeout, "request-timeout", 10*time.Second, "timeout of each request")
	choose(root, f, &o.logLevel, "log-level", "", "debug, info, warn, or error", "info", "debug", "warn", "error")
	choose(root, f, &o.logFormat, "log-format", "", "text, json, or auto (text on a terminal, otherwise json)", "auto", "text", "json")
}

// identityFlag registers the flag of the commands that reach remotes.
func (o *options) identityFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.identity, "identity", "", "ServiceAccount in the source's namespace whose one-hour tokens authenticate to remotes without stored credentials,\nsuch as "+usualIdentity+" from manifests/identity (default: kubeconfigs without credentials are rejected)")
}

// check rejects values that can never work.
func (o *options) check() error {
	if reasons := validation.IsDNS1123Label(o.namespace); reasons != nil {
		return fmt.Errorf("--namespace %q: %s", o.namespace, reasons[0])
	}
	if reasons := validation.IsDNS1123Subdomain(o.secret); reasons != nil {
		return fmt.Errorf("--secret %q: %s", o.secret, reasons[0])
	}
	if name, ok := strings.CutPrefix(o.clusters, secretPrefix); ok && validation.IsDNS1123Subdomain(name) != nil {
		return fmt.Errorf("--clusters %q: %q is not a valid Secret name", o.clusters, name)
	}
	if o.identity != "" && validation.IsDNS1123Subdomain(o.identity) != nil {
		return fmt.Errorf("--identity %q is not a valid ServiceAccount name", o.identity)
	}
	return positive("--request-timeout", o.requestTimeout)
}

// logger returns the log that all lines go to, client-go's included.
func (o *options) logger(cmd *cobra.Command) *slog.Logger {
	// No other levels: below debug, client-go prints bodies.
	level := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}[o.logLevel]
	w := cmd.ErrOrStderr()
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: tidy}))
	if o.logFormat == "text" || o.logFormat == "auto" && show.IsTerminal(w) {
		log = slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.DateTime, NoColor: !show.ScreenOf(w).Colored, ReplaceAttr: tidy}))
	}
	capture(log)
	return log
}

// capture redirects client-go's log and Go's standard logger to log. net/http prints
// unsolicited bytes from a server to the latter, keys included.
func capture(log *slog.Logger) {
	klog.SetSlogLogger(log)
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraries{log})
}

// libraries logs what a library prints, at level debug. It drops everything from the first
// quotation mark on, because net/http quotes a server's bytes. [tidy] keeps plain words only.
type libraries struct{ log *slog.Logger }

// Write implements [io.Writer].
func (l libraries) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(line), `"`)
	l.log.Debug("library message", "error", errors.New(text))
	return len(line), nil
}

// tidy changes each attribute of each line, client-go's included: levels between debug
// and info become debug, errors lose a server's quoted words, and texts lose characters
// that a terminal would obey.
func tidy(_ []string, a slog.Attr) slog.Attr {
	switch value := a.Value.Any().(type) {
	case slog.Level:
		if value < slog.LevelInfo {
			a.Value = slog.AnyValue(slog.LevelDebug)
		}
	case error:
		a.Value = slog.StringValue(mirror.Explain(value))
	case string:
		a.Value = slog.StringValue(mirror.Printable(value))
	}
	return a
}
