package cli

import (
	"context"
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
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"
)

const (
	defaultDirectory = "/etc/fernetcast/clusters"
	defaultTokens    = "/etc/fernetcast/tokens"
	secretPrefix     = "secret/"
	defaultSecret    = secretPrefix + "fernetcast-clusters"
	// defaultIdentity is the name of the ServiceAccount in manifests/identity.
	defaultIdentity = "fernetcast-identity"
	// defaultLife is the default lifetime of a token. minLife is the API server's minimum.
	defaultLife, minLife = 90 * day, 10 * time.Minute
)

// version is set in release builds: -ldflags "-X …/internal/cli.version=v1.2.3".
var version = "dev"

func userAgent() string { return "fernetcast/" + release() }

// release returns the release version or, after go install, the module version.
func release() string {
	info, ok := debug.ReadBuildInfo()
	if version != "dev" || !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return version
	}
	return info.Main.Version
}

// options holds the global flags and --identity, which only some commands register.
type options struct {
	operator
	namespace, secret   string
	clusters            string
	identity            string
	requestTimeout      time.Duration
	logLevel, logFormat string
	home                home
}

// home caches the clients for the source's cluster. It is zero until connect succeeds.
type home struct {
	mu      sync.Mutex
	apis    *setup.APIs
	context string // the kubectl context; "" in a pod
}

func (o *options) register(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of the source's cluster (default: in-cluster, then $KUBECONFIG, then ~/.kube/config)")
	f.StringVar(&o.context, "context", "", "context in that kubeconfig (default: its current context)")
	complete(root, "context", completeContexts(&o.kubeconfig))
	f.StringVar(&o.as, "as", "", "user to impersonate in both clusters, with your own contexts")
	o.namespace = "openstack"
	f.VarP(textFlag{&o.namespace, false, objectName(validation.IsDNS1123Label)}, "namespace", "n", "namespace of the Secret, in the source's cluster and in each remote whose kubeconfig sets no namespace")
	textVar(f, &o.secret, "secret", "keystone-fernet-keys", "name of the Secret that contains the keys", objectName(validation.IsDNS1123Subdomain))
	textVar(f, &o.clusters, "clusters", "", "kubeconfigs of the remotes: a directory or, except for run, secret/NAME in the source's namespace\n"+
		"(default: "+defaultDirectory+" if it exists or for run, otherwise "+defaultSecret+")", clustersLocation)
	periodVar(f, &o.requestTimeout, "request-timeout", 10*time.Second, time.Millisecond, "timeout of each request")
	choose(root, f, &o.logLevel, "log-level", "", "debug, info, warn, or error", "info", "debug", "warn", "error")
	choose(root, f, &o.logFormat, "log-format", "", "text, json, or auto (text on a terminal, otherwise json)", "auto", "text", "json")
}

// identityFlag registers --identity, for commands that connect to remotes.
func (o *options) identityFlag(cmd *cobra.Command) {
	textVar(cmd.Flags(), &o.identity, "identity", "", "ServiceAccount in the source's namespace whose one-hour tokens authenticate to remotes without stored credentials,\nsuch as "+defaultIdentity+" from manifests/identity (default: kubeconfigs without credentials are rejected)", objectName(validation.IsDNS1123Subdomain))
}

// clustersLocation rejects a Secret with an invalid name.
func clustersLocation(value string) error {
	if name, ok := strings.CutPrefix(value, secretPrefix); ok && validation.IsDNS1123Subdomain(name) != nil {
		return fmt.Errorf("%q is not a valid Secret name", name)
	}
	return nil
}

// logger returns the logger, and redirects all log output of libraries to it.
func (o *options) logger(cmd *cobra.Command) *slog.Logger {
	// Levels below debug aren't available: client-go would log request bodies.
	level := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}[o.logLevel]
	w := cmd.ErrOrStderr()
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: tidy}))
	if o.logFormat == "text" || o.logFormat == "auto" && show.IsTerminal(w) {
		log = slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.DateTime, NoColor: !show.ScreenOf(w).Colored, ReplaceAttr: tidy}))
	}
	capture(log)
	return log
}

// capture redirects klog and Go's standard logger to log. net/http prints a server's
// unsolicited bytes to the standard logger, and these bytes can contain keys.
func capture(log *slog.Logger) {
	limited := func() *slog.Logger {
		return slog.New(perMinute{log.Handler(), rate.NewLimiter(rate.Every(time.Minute), 1)})
	}
	klog.SetSlogLogger(limited())
	stdlog.SetFlags(0)
	stdlog.SetOutput(libraries{limited()})
}

// perMinute is a handler that logs one line per minute, because a remote can make libraries log
// any number of lines.
type perMinute struct {
	slog.Handler
	limiter *rate.Limiter
}

// Handle implements [slog.Handler].
func (m perMinute) Handle(ctx context.Context, line slog.Record) error {
	if !m.limiter.Allow() {
		return nil
	}
	return m.Handler.Handle(ctx, line)
}

// WithAttrs implements [slog.Handler].
func (m perMinute) WithAttrs(attrs []slog.Attr) slog.Handler {
	return perMinute{m.Handler.WithAttrs(attrs), m.limiter}
}

// WithGroup implements [slog.Handler].
func (m perMinute) WithGroup(name string) slog.Handler {
	return perMinute{m.Handler.WithGroup(name), m.limiter}
}

// libraries is a writer that logs the output of libraries at level debug. net/http quotes a
// server's bytes, so libraries drops everything after the first quotation mark. Then [tidy]
// drops all words that could be data.
type libraries struct{ log *slog.Logger }

// Write implements [io.Writer].
func (l libraries) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(line), `"`)
	l.log.Debug("library message", "error", errors.New(text))
	return len(line), nil
}

// tidy cleans each attribute of each log line. Levels below info become debug. Errors lose
// the parts that a server wrote, and strings lose terminal control characters.
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
