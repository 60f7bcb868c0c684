package regions

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// TestReplacedByWhatCannotWork replaces a valid kubeconfig with one that can never work, or that
// demands more than access to a cluster, such as running a program. The last good kubeconfig must
// stay in use, the status must name the bad field, no value may be shown, and no program may run.
func TestReplacedByWhatCannotWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.keys()
	w.promote()
	const secret = "hunter2-is-not-to-be-shown"
	ran := filepath.Join(t.TempDir(), "ran")
	bad := w.cannotWork(secret, ran)
	outposts, good := map[string]*outpost{}, map[string][]byte{}
	for name := range bad {
		outposts[name] = w.outpost(name, "dfw")
	}
	outposts["newline"] = w.outpost("newline", "dfw")
	run := w.run("--resync", "1h")
	for name, o := range outposts {
		w.arrived(o.history, first)
		run.shows(name, "Synced", "")
		var err error
		good[name], err = os.ReadFile(filepath.Join(w.Clusters, name+".yaml"))
		w.Must(err)
	}

	for name, with := range bad {
		w.Must(testenv.WriteFile(w.Clusters, name+".yaml", w.having(good[name], with.list, with.fields)))
	}
	w.Must(testenv.WriteFile(w.Clusters, "newline.yaml", w.having(good["newline"], "user", map[string]any{"token": w.token("newline") + "\n"})))
	for name, with := range bad {
		run.shows(name, "Misconfigured", with.names)
		run.shows(name, "Misconfigured", "still using the last good kubeconfig: Synced")
	}
	second := w.rotate().Keys
	table := w.exits(1, "status")
	for name, o := range outposts {
		w.arrived(o.history, second)
		if line := lineOf(table, name); name != "newline" && (!strings.Contains(line, "Misconfigured") || !strings.Contains(line, bad[name].names)) {
			t.Errorf("status shows %s as %q, want Misconfigured and %s", name, line, bad[name].names)
		}
	}
	run.shows("newline", "Synced", "")
	body, err := testenv.Get(w.Ctx, "http://"+run.address+"/statusz")
	w.Must(err)
	if strings.Contains(table+string(body)+run.Stderr.String(), secret) {
		t.Error("the output contains a secret value")
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("fernetcast ran the program of an exec field")
	}

	for name := range bad {
		w.Must(testenv.WriteFile(w.Clusters, name+".yaml", good[name]))
		run.shows(name, "Synced", "")
	}
	third := w.rotate().Keys
	for _, o := range outposts {
		w.arrived(o.history, third)
		o.only(first, second, third)
	}
}

// replacement lists the fields to set in one part of a kubeconfig, and the field that the status
// must name.
type replacement struct {
	list, names string
	fields      map[string]any
}

// cannotWork returns the replacement for each remote. secret is a value that must not be shown, and
// ran is a file that the program in an exec field would create. A test in package kubeconfig has a
// table of all fields and values.
func (w *world) cannotWork(secret, ran string) map[string]replacement {
	w.Helper()
	cert, _ := w.pair()
	_, otherKey := w.pair()
	return map[string]replacement{
		"no-pair":     {"user", "client-key-data", map[string]any{"client-certificate-data": cert, "client-key-data": otherKey}},
		"token-lines": {"user", "token", map[string]any{"token": secret + "\n" + secret}},
		"exec": {"user", "exec", map[string]any{"exec": map[string]any{
			"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": []string{ran}, "interactiveMode": "Never",
		}}},
		"token-file":  {"user", "tokenFile", map[string]any{"tokenFile": "/etc/" + secret}},
		"server-user": {"cluster", "server", map[string]any{"server": "https://me:" + secret + "@127.0.0.1"}},
	}
}

// pair returns a client certificate for dfw and the certificate's key.
func (w *world) pair() (cert, key []byte) {
	w.Helper()
	kubeconfig, err := shared.Cluster("dfw").CertificateKubeconfig(w.NS, time.Now().Add(time.Hour))
	w.Must(err)
	config, err := clientcmd.Load(kubeconfig)
	w.Must(err)
	return config.AuthInfos["admin"].ClientCertificateData, config.AuthInfos["admin"].ClientKeyData
}

// with returns a valid kubeconfig of the cluster name, with one field replaced in list: its
// clusters, users, or contexts.
func (w *world) with(name, list, field string, value any) []byte {
	w.Helper()
	return w.having(w.kubeconfig(name), list, map[string]any{field: value})
}

// having returns a kubeconfig with some fields replaced in list: its clusters, users, or contexts.
func (w *world) having(kubeconfig []byte, list string, fields map[string]any) []byte {
	w.Helper()
	var config map[string]any
	w.Must(yaml.Unmarshal(kubeconfig, &config))
	maps.Copy(config[list+"s"].([]any)[0].(map[string]any)[list].(map[string]any), fields)
	return w.written(config)
}

func (w *world) written(config map[string]any) []byte {
	w.Helper()
	data, err := yaml.Marshal(config)
	w.Must(err)
	return data
}

// lineOf returns the line of a table that starts with a word.
func lineOf(table, word string) string {
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == word {
			return line
		}
	}
	return ""
}
