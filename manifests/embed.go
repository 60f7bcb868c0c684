// Package manifests holds those of the manifests that the program applies itself, as
// they ship.
//
// It knows nothing of what they mean.
package manifests

import "embed"

// Remote is what a main needs in a remote: the account, its rights, and the policies.
//
//go:embed remote/serviceaccount.yaml remote/role.yaml remote/policy/policy.yaml
//go:embed remote/self-renew/policy.yaml remote/self-renew/role.yaml
var Remote embed.FS
