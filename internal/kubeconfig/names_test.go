package kubeconfig

import "testing"

func TestEntryOf(t *testing.T) {
	entries := map[string][]byte{"dfw.yml": {1}, "iad": {1}, "ord.kubeconfig": {1}, "sjc.yaml": {1}, ".lon.leaving": {1}}
	for remote, want := range map[string]string{"dfw": "dfw.yml", "iad": "iad", "ord": "ord.kubeconfig", "sjc": "sjc.yaml", "lon": "lon.yaml"} {
		if got := EntryOf(entries, remote); got != want {
			t.Errorf("%s is in %s, want %s", remote, got, want)
		}
		if got := RemoteOf(want); got != remote {
			t.Errorf("%s is of %s, want %s", want, got, remote)
		}
	}
	if got := RemoteOf(".lon.leaving"); got != "" {
		t.Errorf("a hidden entry belongs to %s", got)
	}
}
