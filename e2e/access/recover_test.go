package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fernetcast/fernetcast/e2e/testenv"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// lost sets up a main region and two remotes with the same keys, and then wipes the main region's
// Secret.
func (s *stage) lost() (before testenv.Repository) {
	s.Helper()
	before = s.main("sjc")
	for _, remote := range []string{"dfw", "iad"} {
		s.join("sjc", remote, "--wait", "0")
	}
	s.exits(0, "push")
	s.wipe()
	return before
}

// wipe deletes the main region's Secret and recreates it without keys, as a GitOps tool does.
func (s *stage) wipe() {
	s.Helper()
	s.Must(s.cluster("sjc").Delete(s.Ctx, s.NS))
	_, err := s.cluster("sjc").Put(s.Ctx, s.NS, nil)
	s.Must(err)
}

// annotate sets an annotation on a cluster's Secret.
func (s *stage) annotate(region, name, value string) {
	s.Helper()
	s.Must(s.cluster(region).Edit(s.Ctx, s.NS, "somebody", func(secret *corev1.Secret) {
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, name, value)
	}))
}

// all checks that all of the given clusters have exactly these keys.
func (s *stage) all(keys testenv.Repository, regions ...string) {
	s.Helper()
	for _, region := range regions {
		s.Must(s.cluster(region).Holds(s.Ctx, s.NS, keys))
	}
}

// recover restores the keys from any remote, however they were lost in the main region.
func TestRecover(t *testing.T) {
	for name, lose := range map[string]func(*stage){
		"emptied": func(s *stage) {
			_, err := s.cluster("sjc").Put(s.Ctx, s.NS, testenv.Repository{})
			s.Must(err)
		},
		"created again, empty": (*stage).wipe,
		"absent":               func(s *stage) { s.Must(s.cluster("sjc").Delete(s.Ctx, s.NS)) },
		"set up again": func(s *stage) {
			s.wipe()
			_, err := s.cluster("sjc").Put(s.Ctx, s.NS, shared.Keys.NewRepository(1, 2))
			s.Must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			before := s.lost()
			lose(s)
			s.runs("sjc")
			r := s.exits(0, "recover", "--from", "dfw", "--yes")
			s.says(r.Stderr, "In dfw:    0=", "Valid again: tokens signed with 3 (", "sjc becomes the main region, term 2", "Marked "+s.NS+"/keystone-fernet-keys as the main region's: sjc, term 2.")
			s.says(r.Stdout, "2 Synced", "Enable the rotation CronJob (keystone-fernet-rotate) here")
			s.all(before, "sjc", "dfw", "iad")
			rotation, err := s.cluster("sjc").Rotate(s.Ctx, s.NS, 7)
			s.Must(err)
			for _, remote := range []string{"dfw", "iad"} {
				s.Until(func(ctx context.Context) error { return s.cluster(remote).Holds(ctx, s.NS, rotation.Keys) })
			}
			s.says(s.exits(1, "recover", "--from", "iad", "--yes").Stderr, "nothing to recover")
		})
	}
}

// recover refuses to replace keys that exist nowhere else, or to use keys that belong to another
// main region. If it refuses, it writes nothing.
func TestRecoverRefuses(t *testing.T) {
	s := newStage(t)
	before := s.lost()
	unchanged := func() {
		s.Helper()
		s.Must(s.cluster("sjc").Holds(s.Ctx, s.NS, testenv.Repository{}))
	}
	s.says(s.exits(2, "recover", "--from", "nobody", "--yes").Stderr, `no remote "nobody"; existing remotes: dfw, iad`)

	jobs := s.cluster("sjc").Client().BatchV1().Jobs(s.NS)
	job, err := jobs.Create(s.Ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: "rotate-29", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "batch/v1", Kind: "CronJob", Name: "keystone-fernet-rotate", UID: "7", Controller: ptr.To(true),
		}}},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "rotate", Image: "rotate"}},
		}}},
	}, metav1.CreateOptions{})
	s.Must(err)
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes", "--force").Stderr, "nothing was changed: rotation Job rotate-29 is active", "delete job rotate-29")
	unchanged()
	now := metav1.Now()
	job.Status = batchv1.JobStatus{StartTime: &now, CompletionTime: &now, Succeeded: 1, Conditions: []batchv1.JobCondition{
		{Type: batchv1.JobSuccessCriteriaMet, Status: "True", LastTransitionTime: now}, {Type: batchv1.JobComplete, Status: "True", LastTransitionTime: now},
	}}
	_, err = jobs.UpdateStatus(s.Ctx, job, metav1.UpdateOptions{})
	s.Must(err)

	// Now dfw's keys don't match its stamp, so recover refuses them, even with --force.
	_, err = s.cluster("dfw").Put(s.Ctx, s.NS, shared.Keys.NewRepository(9, 7))
	s.Must(err)
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes", "--force").Stderr, "they were changed there")
	unchanged()
	_, err = s.cluster("dfw").Put(s.Ctx, s.NS, before)
	s.Must(err)

	s.annotate("sjc", "fernetcast/main-term", "many")
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes").Stderr, "the annotations fernetcast/main-term on Secret "+s.NS+"/keystone-fernet-keys cannot be read", "--force")
	unchanged()
	s.Must(s.cluster("sjc").Edit(s.Ctx, s.NS, "somebody", func(secret *corev1.Secret) { secret.Annotations = nil }))

	// First, another remote has a higher term. Then, the Secret belongs to another main region.
	s.annotate("iad", "fernetcast/term", "5")
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes").Stderr, "the keys of dfw have term 1, but iad has term 5", "--force")
	unchanged()
	s.annotate("iad", "fernetcast/term", "1")
	for name, value := range map[string]string{"fernetcast/region": "lon", "fernetcast/term": "1", "fernetcast/source-uid": "7"} {
		s.annotate("sjc", name, value)
	}
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes").Stderr, "were pushed by sjc, but this Secret belongs to lon")
	unchanged()
	s.exits(0, "recover", "--from", "dfw", "--yes", "--force")
	s.all(before, "sjc", "dfw", "iad")
}

// The rotation job's disk was full, so the main region's Secret has an empty staged key, but also a
// newer key than the remotes. recover reports this and changes nothing. The command that it prints
// repairs only the staged key.
func TestRecoverKeepsWhatIsLeft(t *testing.T) {
	s := newStage(t)
	s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	s.exits(0, "push")
	sjc := s.cluster("sjc")
	for range 2 {
		_, err := sjc.Rotate(s.Ctx, s.NS, 7)
		s.Must(err)
	}
	secrets := sjc.Client().CoreV1().Secrets(s.NS)
	patch := func(text string) {
		_, err := secrets.Patch(s.Ctx, testenv.SecretName, types.MergePatchType, []byte(text), metav1.PatchOptions{})
		s.Must(err)
	}
	patch(`{"data":{"0":""}}`)
	before := s.snapshot("sjc", "dfw")
	r := s.exits(1, "recover", "--from", "dfw", "--yes")
	s.says(r.Stderr, "and 1 invalid: key 0 is empty", "LOST: tokens signed here with", "nothing was changed: tokens signed here with", "would be lost", "--force")
	if after := s.snapshot("sjc", "dfw"); after != before {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
	}
	_, command, _ := strings.Cut(r.Stderr, "To repair only this key: kubectl ")
	command, _, _ = strings.Cut(command, "\n")
	// Run the printed command unchanged, except that a shell function replaces kubectl.
	shell := exec.CommandContext(s.Ctx, "bash", "-c", `kubectl() { for last in "$@"; do :; done; printf %s "$last"; }; kubectl `+command)
	text, err := shell.Output()
	s.Must(err)
	patch(string(text))
	s.exits(0, "push")
	s.says(s.exits(0, "status").Stdout, "1 Synced")
}

// A rotation between recover's plan and its write stops the recovery.
func TestRecoverOvertaken(t *testing.T) {
	s := newStage(t)
	s.lost()
	gateways := s.gateways("sjc")
	setUp := shared.Keys.NewRepository(1, 2)
	var once sync.Once
	gateways[0].Spoil(func(honest http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				once.Do(func() {
					if _, err := s.cluster("sjc").Put(s.Ctx, s.NS, setUp); err != nil {
						t.Error(err)
					}
				})
			}
			honest.ServeHTTP(w, r)
		})
	})
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes").Stderr, "someone else changed the source")
	s.all(setUp, "sjc")
}

// If recover is killed at any request and run again, the result is the same as without the kill.
func TestRecoverKilled(t *testing.T) {
	s := newStage(t)
	before := s.main("sjc")
	gateways := s.gateways("sjc")
	s.exits(0, "join", "iad", "--remote-context", "iad", "--server", s.cluster("iad").URL, "--yes", "--wait", "0")
	s.exits(0, "push")
	ended := func() {
		s.all(before, "sjc", "iad")
		if r := s.exits(0, "status"); r.Code != 0 {
			t.Error(r.Stdout)
		}
	}
	begin := func() { s.Must(s.cluster("sjc").Delete(s.Ctx, s.NS)) }
	s.killedEverywhere(gateways, begin, ended, "recover", "--from", "iad", "--yes", "--force")
}

// forge adds a key to a remote's copy, and updates the stamp to match. Anyone who controls the
// remote can do this.
func (s *stage) forge(region string, index int) (forged string) {
	s.Helper()
	s.Must(s.cluster(region).Edit(s.Ctx, s.NS, "somebody", func(secret *corev1.Secret) {
		forged = shared.Keys.New()
		secret.Data[strconv.Itoa(index)] = []byte(forged)
		sum := sha256.Sum256([]byte(forged))
		secret.Annotations["fernetcast/keys"] += fmt.Sprintf(",%d=%x", index, sum[:4])
	}))
	return forged
}

// recover requires --force to use a remote with a forged key. The reason is that the main region's
// own keys are still valid, or that no other cluster has such a high index.
func TestRecoverForgedKey(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	for _, remote := range []string{"dfw", "iad"} {
		s.join("sjc", remote, "--wait", "0")
	}
	s.exits(0, "push")
	s.forge("iad", 999999999)
	before := s.snapshot("sjc", "dfw", "iad")
	s.says(s.exits(1, "recover", "--from", "iad", "--yes").Stderr, "nothing was changed", "nothing to recover", "primary 999999999 of iad is more than 1000 above", "recover from another remote", "--force")
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes").Stderr, "nothing to recover")
	s.says(s.exits(2, "recover", "--from", "iad", "--ignore", "iad", "--yes").Stderr, "--ignore iad: it is the remote to recover from")
	s.says(s.exits(2, "recover", "--from", "iad", "--ignore", "fra", "--yes").Stderr, `--ignore: there is no remote "fra"`)
	if after := s.snapshot("sjc", "dfw", "iad"); after != before {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
	}

	// The forged key must not prevent a real recovery.
	s.wipe()
	s.says(s.exits(1, "recover", "--from", "iad", "--yes").Stderr, "primary 999999999 of iad is more than 1000 above")
	s.says(s.exits(1, "recover", "--from", "dfw", "--yes").Stderr, "the keys of iad are newer than those of dfw", "to recover without iad, add --ignore iad")
	s.says(s.exits(0, "recover", "--from", "dfw", "--ignore", "iad", "--yes").Stdout, "2 Synced")
	s.all(keys, "sjc", "dfw", "iad")
}

// A hostile region can't prevent a failover. With --ignore, promote ignores only that region's
// keys.
func TestPromoteForgedKey(t *testing.T) {
	s := newStage(t)
	keys := s.main("sjc")
	s.join("sjc", "dfw", "--wait", "0")
	s.join("sjc", "iad", "--wait", "0")
	s.exits(0, "push")
	for _, remote := range []string{"sjc", "iad", "ord"} {
		s.join("dfw", remote, "--from", "dfw", "--wait", "0")
	}
	promote := func(code int, flags ...string) string {
		s.Helper()
		r := s.exits(code, append([]string{"--context", "dfw", "promote", "dfw", "--yes"}, flags...)...)
		return r.Stdout + r.Stderr
	}
	s.forge("iad", 9)
	before := s.snapshot("sjc", "dfw", "iad")
	s.says(promote(1), "nothing was changed", "the keys of iad are newer", "to promote without iad, add --ignore iad")
	s.says(promote(1, "--ignore", "ord"), "the keys of iad are newer")
	s.says(promote(2, "--ignore", "fra"), `there is no remote "fra"; existing remotes: iad, ord, sjc`)
	// The keys of the other regions still count.
	sjc := s.cluster("sjc")
	rotation, err := sjc.Rotate(s.Ctx, s.NS, 7)
	s.Must(err)
	s.says(promote(1, "--ignore", "iad"), "the keys of sjc are newer", "to promote without sjc, add --ignore sjc")
	if after := s.snapshot("dfw", "iad"); !strings.Contains(before, after) {
		t.Errorf("something was changed:\n%s\nbefore:\n%s", after, before)
	}
	s.Must(sjc.Holds(s.Ctx, s.NS, rotation.Keys))
	s.says(promote(0, "--ignore", "iad", "--ignore", "sjc"), "dfw becomes the main region, term 2", "3 Synced")
	s.all(keys, "sjc", "dfw", "iad", "ord")
}
