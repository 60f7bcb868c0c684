package promotion

import (
	"cmp"
	"maps"
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The plan shows the usable keys that a source still has. Only --force gives them up.
func TestRecoveryKeepsWhatIsLeft(t *testing.T) {
	edited := func(pairs string, edit func(map[string][]byte), annotations ...map[string]string) *corev1.Secret {
		s := secret("home", pairs, annotations...)
		edit(s.Data)
		return s
	}
	ours := mark("sjc", 1, "home")
	const patch = `kubectl --namespace openstack patch secret keystone-fernet-keys --type merge --patch `
	const read = `key=$(kubectl --context dfw --namespace openstack get secret keystone-fernet-keys --output jsonpath=`
	newer := "0=f 2=b 3=c 4=d 5=e"
	for name, c := range map[string]struct {
		source *corev1.Secret
		shown  []string
		lost   string // text in the refusal; "" if nothing is lost
	}{
		"the staged key is empty": {
			source: edited(newer, func(d map[string][]byte) { d["0"] = nil }, ours), lost: "tokens signed here with 4 (",
			shown: []string{"Here now:  2=", ", and 1 invalid: key 0 is empty", "To repair only this key: " + patch + `"{\"stringData\":{\"0\":\"$(openssl rand 32 | base64 | tr +/ -_)\"}}"`},
		},
		"a key is broken that the remote has staged": {
			source: edited(newer, func(d map[string][]byte) { d["3"] = d["3"][:9] }, ours), lost: "tokens signed here with 4 (",
			shown: []string{": key 3 is not URL-safe base64", read + `{.data.0}) && test -n "$key" && ` + patch + `"{\"data\":{\"3\":\"$key\"}}"`},
		},
		"a key is broken that the remote has": {
			source: edited(newer, func(d map[string][]byte) { d["2"] = d["2"][:9] }, ours), lost: "5 (",
			shown: []string{": key 2 is not URL-safe base64", read + `{.data.2})`},
		},
		"a key is broken that nobody else has": {
			source: edited(newer, func(d map[string][]byte) { d["5"] = d["5"][:9] }, ours), lost: "4 (",
			shown: []string{patch + `"{\"data\":{\"5\":null}}"`},
		},
		"a name is not an index": {
			source: edited(newer, func(d map[string][]byte) { d["README"] = []byte("x") }, ours), lost: "5 (",
			shown: []string{`, and 1 invalid: data key "README" is not a key index`},
		},
		"two are broken": {source: edited(newer, func(d map[string][]byte) { d["0"], d["2"] = nil, nil }, ours), lost: "5 (", shown: []string{", and 2 invalid: key 0 is empty"}},
		"the mark is lost, and the keys are newer": {source: secret("home", newer), shown: []string{"5="}, lost: "to keep them: fernetcast promote sjc"},
		"broken, and nothing is newer":             {source: edited(older, func(d map[string][]byte) { d["0"] = nil }, ours), shown: []string{"To repair only this key"}},
		"empty":                                    {source: secret("home", "", ours), shown: []string{"Here now:  no keys"}},
		"absent":                                   {shown: []string{"Here now:  no keys"}},
		"set up again":                             {source: secret("home", alien), shown: []string{"LOST: tokens signed here with 1 ("}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, force := range []bool{false, true} {
				r := &Recovery{Promotion: &Promotion{Secret: "openstack/keystone-fernet-keys"}, From: "dfw"}
				r.Force = force
				dfw := secret("dfw", older, stamp("sjc", 1, older))
				all := looks(map[string]*corev1.Secret{"dfw": dfw})
				from, err := r.giver(all)
				if err != nil {
					t.Fatal(err)
				}
				plan, err := r.plan(mirror.ReadSource(c.source), from, all)
				for _, text := range c.shown {
					if lines := strings.Join(plan.Lines, "\n"); !strings.Contains(lines, text) {
						t.Errorf("%q is not in\n%s", text, lines)
					}
				}
				if refused := c.lost != "" && !force; (err != nil) != refused || refused && !strings.Contains(err.Error(), c.lost) {
					t.Errorf("with --force %v: %v", force, err)
				}
			}
		})
	}
}

// A remote can write any keys and a fitting stamp. Without --force, recover makes them the main
// region's only if this cluster has lost keys and the copy's primary isn't far above that of every
// other cluster.
func TestRecoveryFromAnyRemote(t *testing.T) {
	type fleet = map[string]*corev1.Secret
	stamped := func(name, pairs string) *corev1.Secret { return secret(types.UID(name), pairs, stamp("sjc", 1, pairs)) }
	const far, highest = older + " 1003=x", older + " 2147483647=x"
	for name, c := range map[string]struct {
		source *corev1.Secret // empty if nil
		from   *corev1.Secret
		others fleet
		ignore []string
		says   []string // texts in the refusal; nil if the plan isn't refused
		fatal  bool     // whether even --force is refused
	}{
		"as others have it":          {from: stamped("dfw", older), others: fleet{"iad": stamped("iad", older)}},
		"1,000 ahead":                {from: stamped("dfw", older+" 1002=x"), others: fleet{"iad": stamped("iad", older)}},
		"1,001 ahead":                {from: stamped("dfw", far), others: fleet{"iad": stamped("iad", older)}, says: []string{"primary 1003 of dfw", "more than 1000 above", "recover from another remote", "add --force"}},
		"a healthy main":             {source: secret("home", older, mark("sjc", 1, "home")), from: stamped("dfw", older), says: []string{"nothing to recover", "add --force"}},
		"over a healthy main":        {source: secret("home", older, mark("sjc", 1, "home")), from: stamped("dfw", older+" 3=x"), says: []string{"nothing to recover"}},
		"far ahead of this cluster":  {source: secret("home", older, mark("sjc", 1, "home")), from: stamped("dfw", highest), says: []string{"nothing to recover", "primary 2147483647 of dfw"}},
		"others are not reached":     {from: stamped("dfw", far), others: fleet{"iad": nil}, says: []string{"more than 1000 above"}},
		"the only remote":            {from: stamped("dfw", older)},
		"the only remote, far ahead": {from: stamped("dfw", highest), says: []string{"more than 1000 above", "at most 0"}},
		"others are ignored":         {from: stamped("dfw", far), others: fleet{"iad": stamped("iad", far)}, ignore: []string{"iad"}, says: []string{"more than 1000 above"}},
		"a remote listed twice":      {from: stamped("dfw", far), others: fleet{"dallas": stamped("dfw", far)}, says: []string{"more than 1000 above"}},
		"unrelated to others":        {from: stamped("dfw", alien), others: fleet{"iad": stamped("iad", older)}, says: []string{"the keys of iad are newer than those of dfw or unrelated to them", "recover from there instead", "to recover without iad, add --ignore iad"}},
		"unrelated, and ignored":     {from: stamped("dfw", alien), others: fleet{"iad": stamped("iad", older)}, ignore: []string{"iad"}},
		"another has a higher term":  {from: stamped("dfw", older), others: fleet{"iad": secret("iad", older, stamp("sjc", 5, older))}, says: []string{"the keys of dfw have term 1, but iad has term 5", "--ignore iad"}},
		"and is ignored":             {from: stamped("dfw", older), others: fleet{"iad": secret("iad", older, stamp("sjc", 5, older))}, ignore: []string{"iad"}},
		"a term far above":           {from: secret("dfw", older, stamp("sjc", 5000, older)), others: fleet{"iad": stamped("iad", older)}, says: []string{"dfw has term 5000", "recover from another remote"}},
		"the highest term":           {from: secret("dfw", older, stamp("sjc", 999999, older)), others: fleet{"iad": stamped("iad", older)}, says: []string{"dfw has term 999999", "recover from another remote"}, fatal: true},
	} {
		t.Run(name, func(t *testing.T) {
			for _, force := range []bool{false, true} {
				r := &Recovery{Promotion: &Promotion{Secret: "openstack/keystone-fernet-keys"}, From: "dfw"}
				r.Force, r.Ignore = force, c.ignore
				remotes := fleet{"dfw": c.from}
				maps.Copy(remotes, c.others)
				all := looks(remotes)
				from, err := r.giver(all)
				if err != nil {
					t.Fatal(err)
				}
				_, err = r.plan(mirror.ReadSource(cmp.Or(c.source, secret("home", ""))), from, all)
				if refused := c.says != nil && (!force || c.fatal); (err != nil) != refused {
					t.Fatalf("with --force %v: %v", force, err)
				}
				for _, text := range c.says {
					if err != nil && !strings.Contains(err.Error(), text) {
						t.Errorf("the error does not contain %q: %v", text, err)
					}
				}
				if err != nil && strings.Contains(err.Error(), "--ignore dfw") {
					t.Errorf("the error suggests ignoring the remote to recover from: %v", err)
				}
			}
		})
	}
}
