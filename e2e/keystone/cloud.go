// Package keystone runs an OpenStack identity service that several regions share. Each region has a
// real Keystone. All use the same database, but each has its own key repository, which follows its
// cluster's Secret as a mounted volume does. Tests and the demo issue tokens in one region and
// validate them in another.
package keystone

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"text/template"
	"time"

	"github.com/fernetcast/fernetcast/e2e/testenv"
)

// These are programs from Debian's package keystone.
const (
	manage = "keystone-manage"
	server = "uwsgi_python3"
	wsgi   = "keystone-wsgi-public"
)

// This is the user to whom tokens are issued.
const (
	admin    = "admin"
	password = "not-a-secret"
)

// Installed returns nil if Keystone's programs are installed. The error explains how to install
// them.
func Installed() error {
	for _, name := range []string{manage, server, wsgi} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("finding Keystone: %w; on Debian: apt-get install --no-install-recommends keystone", err)
		}
	}
	return nil
}

// Cloud is an identity service that several regions share. Its methods are safe for concurrent use.
type Cloud struct {
	env *testenv.Env
	dir string
	// user and group own the key files. keystone-manage requires them as arguments.
	user, group string
	manager     manager
}

// Open creates the database, with one user. This takes about ten seconds. Closing the Env removes
// the database.
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
	// Keystone requires keys to start, even for commands that don't use them.
	if err := writeKeys(conf.repository, g.Keys.NewRepository(1, 2)); err != nil {
		return nil, err
	}
	if err := c.manage(ctx, conf, "db_sync"); err != nil {
		return nil, err
	}
	return c, c.manage(ctx, conf, "bootstrap", "--bootstrap-username", admin, "--bootstrap-password", password)
}

// Publish adds each region's Keystone to the catalog, as the region's identity endpoint.
func (c *Cloud) Publish(ctx context.Context, regions ...*Region) error {
	for _, r := range regions {
		// While another test uses the database, SQLite may be locked.
		err := testenv.Until(ctx, time.Second, func(ctx context.Context) error {
			return c.manage(ctx, r.conf, "bootstrap", "--bootstrap-username", admin, "--bootstrap-password", password,
				"--bootstrap-region-id", r.Name, "--bootstrap-public-url", r.Endpoint())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Database returns the path of the SQLite database.
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

// config holds the paths of a keystone.conf and of its key repository.
type config struct{ path, repository string }

// keystoneConf disables caching of validated tokens, because a cached result would hide a missing
// key. Users and other objects are cached, because Keystone would be five times slower otherwise.
// The tests don't use receipts, but Keystone requires keys for them.
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

// configure creates a directory with a keystone.conf and an empty key repository.
func (c *Cloud) configure(name string, maxActive int) (config, error) {
	dir, err := os.MkdirTemp(c.dir, name+"-")
	if err != nil {
		return config{}, fmt.Errorf("creating a directory for %s: %w", name, err)
	}
	conf := config{path: filepath.Join(dir, "keystone.conf"), repository: filepath.Join(dir, "keys")}
	if err := os.Mkdir(conf.repository, 0o700); err != nil {
		return config{}, fmt.Errorf("creating a key repository for %s: %w", name, err)
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

// manage runs keystone-manage with the given configuration and arguments.
func (c *Cloud) manage(ctx context.Context, conf config, args ...string) error {
	return c.manager.run(ctx, append([]string{"--config-file", conf.path}, args...)...)
}
