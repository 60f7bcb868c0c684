// Package keystone is an OpenStack identity that several regions share: a real
// Keystone for each, over one database, with a key repository of its own that
// follows its cluster's Secret as a mounted volume does. Tests and the demo
// issue tokens in one region and show them in another.
package keystone

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"text/template"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// The programs of Debian's package keystone.
const (
	manage = "keystone-manage"
	server = "uwsgi_python3"
	wsgi   = "keystone-wsgi-public"
)

// The user that tokens are issued for.
const (
	admin    = "admin"
	password = "not-a-secret"
)

// Installed is nil where Keystone's programs are; the error says how to get them.
func Installed() error {
	for _, name := range []string{manage, server, wsgi} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("finding Keystone: %w; on Debian: apt-get install --no-install-recommends keystone", err)
		}
	}
	return nil
}

// Cloud is one identity. Its methods may be called concurrently.
type Cloud struct {
	env *testenv.Env
	dir string
	// user and group own the key files: keystone-manage wants to be told.
	user, group string
	manager     manager
}

// Open makes the database, with one user in it: about ten seconds. It is gone
// with the env.
func Open(ctx context.Context, g *testenv.Env) (*Cloud, error) {
	if err := Installed(); err != nil {
		return nil, err
	}
	dir, err := g.Directory("keystone-")
	if err != nil {
		return nil, err
	}
	c := &Cloud{env: g, dir: dir, manager: manager{dir: dir}}
	if c.user, c.group, err = whoAmI(); err != nil {
		return nil, err
	}
	conf, err := c.configure("setup", 3)
	if err != nil {
		return nil, err
	}
	// Keystone does not start without keys, whatever for.
	if err := writeKeys(conf.repository, g.Keys.NewRepository(1, 2)); err != nil {
		return nil, err
	}
	if err := c.manage(ctx, conf, "db_sync"); err != nil {
		return nil, err
	}
	return c, c.manage(ctx, conf, "bootstrap", "--bootstrap-username", admin, "--bootstrap-password", password)
}

// Database is the path of the identity's SQLite file.
func (c *Cloud) Database() string { return filepath.Join(c.dir, "keystone.db") }

func whoAmI() (string, string, error) {
	me, err := user.Current()
	if err != nil {
		return "", "", err
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		return "", "", err
	}
	return me.Username, group.Name, nil
}

// config is one keystone.conf, and the key repository that it names.
type config struct{ path, repository string }

// keystoneConf has no validation of a token cached: one that was valid once would
// hide a missing key. Users and the like are, or Keystone would take five times
// as long. Receipts are not used, but Keystone wants to see their keys.
var keystoneConf = template.Must(template.New("keystone.conf").Parse(`
[database]
connection = sqlite:///{{.Database}}
[cache]
enabled = true
backend = dogpile.cache.memory
[identity]
password_hash_rounds = 4
[token]
provider = fernet
caching = false
cache_on_issue = false
expiration = 86400
[fernet_tokens]
key_repository = {{.Repository}}
max_active_keys = {{.MaxActive}}
[fernet_receipts]
key_repository = {{.Repository}}
[credential]
key_repository = {{.Repository}}
[oslo_policy]
policy_dirs = {{.Repository}}/none
`))

// configure makes a directory with a keystone.conf and an empty key repository.
func (c *Cloud) configure(name string, maxActive int) (config, error) {
	dir, err := os.MkdirTemp(c.dir, name+"-")
	if err != nil {
		return config{}, fmt.Errorf("making a directory for %s: %w", name, err)
	}
	conf := config{path: filepath.Join(dir, "keystone.conf"), repository: filepath.Join(dir, "keys")}
	if err := os.Mkdir(conf.repository, 0o700); err != nil {
		return config{}, fmt.Errorf("making a key repository for %s: %w", name, err)
	}
	file, err := os.Create(conf.path)
	if err != nil {
		return config{}, fmt.Errorf("configuring %s: %w", name, err)
	}
	defer file.Close()
	err = keystoneConf.Execute(file, map[string]any{
		"Database": c.Database(), "Repository": conf.repository, "MaxActive": maxActive,
	})
	if err != nil {
		return config{}, fmt.Errorf("configuring %s: %w", name, err)
	}
	return conf, nil
}

// manage runs keystone-manage.
func (c *Cloud) manage(ctx context.Context, conf config, args ...string) error {
	return c.manager.run(ctx, append([]string{"--config-file", conf.path}, args...)...)
}
