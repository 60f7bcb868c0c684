package testenv

import (
	rbacv1 "k8s.io/api/rbac/v1"
)

// Role is what a ServiceAccount may do, in its own namespace alone.
type Role string

const (
	// RemoteRole is the design's own for a remote: get, list, watch, create,
	// update and patch on the one Secret. RBAC cannot limit a POST by name, so
	// a plain create is refused under it: server-side apply is not.
	RemoteRole Role = "remote"
	// GenestackRole is the one that Genestack documents: as RemoteRole, without watch.
	GenestackRole Role = "genestack"
	// NoUpdateRole is RemoteRole without update.
	NoUpdateRole Role = "no-update"
	// NoRole may do nothing: every request is 403.
	NoRole Role = "none"
	// SidecarRole is the program's own at home: it reads the Secret and makes events.
	SidecarRole Role = "sidecar"
	// OperatorRole is SidecarRole for a person: it may also update the Secret,
	// and read the Secret fernetcast-clusters.
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
