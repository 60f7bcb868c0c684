package promotion

import (
	"strings"
	"testing"

	"github.com/fernetcast/fernetcast/internal/mirror"
	corev1 "k8s.io/api/core/v1"
)

// The plan shows the usable keys that a source still has. Only --force gives them up.
func TestRecoveryKeepsWhatIsLeft(t *testing.T) {
	edited := func(pairs string, edit func(map[string][]byte), annotations ...map[string]string) *corev1.Secret {
		s := secret("home", pairs, annotations...)
		edit(s.Data)
		return s
	}
	ours := mark("sjc", 1, "home")
	const patch = `kubectl --context sjc --namespace openstack patch secret keystone-fernet-keys --type merge --patch `
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
				r := &Recovery{Promotion: &Promotion{Secret: "openstack/keystone-fernet-keys"}, From: "dfw", Context: "sjc"}
				r.Force = force
				dfw := secret("dfw", older, stamp("sjc", 1, older))
				all := looks(map[string]*corev1.Secret{"dfw": dfw})
				from, err := r.giver(all)
				if err != nil {
					t.Fatal(err)
				}
				_, plan, err := r.plan(mirror.ReadSource(c.source), from, all)
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
