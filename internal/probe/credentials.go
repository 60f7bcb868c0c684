package probe

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
)

// Credentials sign in to Keystone. Any user with a role in a project is enough, because a token's
// owner may validate it.
type Credentials struct {
	auth gophercloud.AuthOptions
	tls  *tls.Config
	// Region is the region in the cloud's configuration; "" if it names none.
	Region string
	// Interface is the endpoints' interface: public, internal, or admin.
	Interface string
}

// envCloud is the name of the cloud that the OS_* variables describe, as in openstacksdk.
const envCloud = "envvars"

// Load reads the credentials of a cloud in clouds.yaml. If name and $OS_CLOUD are empty, it reads
// the OS_* environment variables. It searches the same files as other OpenStack tools.
func Load(name string) (Credentials, error) {
	from := "cloud " + name
	var opts []clouds.ParseOption
	switch {
	case name != "":
		opts = append(opts, clouds.WithCloudName(name))
	case os.Getenv("OS_CLOUD") != "":
		from = "cloud " + os.Getenv("OS_CLOUD")
	default:
		from = "the OS_* environment variables"
		if os.Getenv("OS_AUTH_URL") == "" {
			return Credentials{}, errors.New("there are no OpenStack credentials: name a cloud in clouds.yaml (--os-cloud or OS_CLOUD), or set OS_AUTH_URL and the other OS_* variables")
		}
		opts = append(opts, clouds.WithCloudName(envCloud), clouds.WithCloudsYAML(environment()))
	}
	auth, endpoint, config, err := clouds.Parse(opts...)
	if err != nil {
		return Credentials{}, fmt.Errorf("reading %s: %w", from, err)
	}
	switch {
	case auth.IdentityEndpoint == "":
		return Credentials{}, fmt.Errorf("%s has no auth_url", from)
	case auth.Password == "" && auth.ApplicationCredentialSecret == "":
		return Credentials{}, fmt.Errorf("%s has neither a password nor an application credential", from)
	}
	auth.TokenID = "" // a token would hide that the credentials have expired
	return Credentials{auth, config, endpoint.Region, string(endpoint.Availability)}, nil
}

// environment returns the OS_* variables as a clouds.yaml. JSON is YAML, too.
func environment() *bytes.Reader {
	auth := map[string]string{}
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if key, ok := strings.CutPrefix(name, "OS_"); ok && value != "" {
			auth[strings.ToLower(key)] = value
		}
	}
	text, _ := json.Marshal(map[string]any{"clouds": map[string]any{envCloud: map[string]any{"auth": auth}}}) // encoding strings can't fail
	return bytes.NewReader(text)
}
