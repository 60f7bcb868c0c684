package testenv

import (
	rbacv1 "k8s.io/api/rbac/v1"
)

// Role names a set of permissions that a ServiceAccount has in its own namespace.
type Role string

const (
	// RemoteRole is the documented role for a remote: get, list, watch, create, update, and patch
	// on one Secret. It allows creating the Secret by server-side apply but not by POST, because
	// RBAC can't limit a POST to one name.
	RemoteRole Role = "remote"
	// GenestackRole has the permissions that Genestack documents: RemoteRole without watch.
	GenestackRole Role = "genestack"
	// NoUpdateRole is RemoteRole without update.
	NoUpdateRole Role = "no-update"
	// NoRole has no permissions: every request gets 403.
	NoRole Role = "none"
	// SidecarRole is fernetcast's role in its own region: read the Secret and create events.
	SidecarRole Role = "sidecar"
	// OperatorRole is SidecarRole for a person. In addition, it allows updating the Secret and
	// reading the Secret fernetcast-clusters.
	OperatorRole Role = "operator"
)

func (r Role) rules() []rbacv1.PolicyRule {
	secret := func(verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{
			APIGroups: []string{""}, Resources: []string{"secrets"},
			ResourceNames: []string{SecretName}, Verbs: verbs,
		}
	}
	events := rbacv1.PolicyRule{
		APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"},
	}
	switch r {
	case RemoteRole:
		return []rbacv1.PolicyRule{secret("get", "list", "watch", "create", "update", "patch")}
	case GenestackRole:
		return []rbacv1.PolicyRule{secret("get", "list", "create", "update", "patch")}
	case NoUpdateRole:
		return []rbacv1.PolicyRule{secret("get", "list", "watch", "create", "patch")}
	case SidecarRole:
		return []rbacv1.PolicyRule{secret("get", "list", "watch"), events}
	case OperatorRole:
		credentials := secret("get")
		credentials.ResourceNames = []string{"fernetcast-clusters"}
		return []rbacv1.PolicyRule{secret("get", "list", "watch", "update"), credentials, events}
	default:
		return []rbacv1.PolicyRule{}
	}
}
