package mirror

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUnsettled(t *testing.T) {
	written := time.Unix(1000, 0)
	at := metav1.NewTime(written)
	dated := ReadCopy(Place{}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: FieldManager, Time: &at}}}})
	undated := ReadCopy(Place{}, &corev1.Secret{})
	for name, c := range map[string]struct {
		copy  Copy
		state State
		now   time.Time
		want  string
	}{
		"long enough":       {dated, StateSynced, written.Add(time.Minute), ""},
		"not yet":           {dated, StateSynced, written.Add(59 * time.Second), "Synced for 59s"},
		"in the future":     {dated, StateSynced, written.Add(-time.Hour), "Synced for 0s"},
		"no clock":          {dated, StateSynced, time.Time{}, "Synced, but it is unknown since when"},
		"no record":         {undated, StateSynced, written, "Synced, but it is unknown since when"},
		"the source itself": {undated, StateSelf, time.Time{}, ""},
		"behind":            {dated, StateBehind, written.Add(time.Hour), "Behind"},
		"standby":           {dated, StateStandby, written.Add(time.Hour), "Standby"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.copy.Unsettled(c.state, c.now, time.Minute); got != c.want {
				t.Errorf("Unsettled returned %q, want %q", got, c.want)
			}
		})
	}
	if got := undated.Unsettled(StateSynced, time.Time{}, 0); got != "" {
		t.Errorf("with --settle 0, Unsettled returned %q", got)
	}
}
