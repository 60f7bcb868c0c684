// Package manifests embeds the manifests that the program itself applies, exactly as they are
// shipped.
//
// It doesn't interpret them.
package manifests

import "embed"

// Remote contains the objects that a main region needs in a remote: the account, its permissions,
// and the policies.
//
//go:embed remote/serviceaccount.yaml remote/role.yaml remote/policy/policy.yaml
//go:embed remote/self-renew/policy.yaml remote/self-renew/role.yaml
var Remote embed.FS
