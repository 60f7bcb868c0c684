package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// JSON and YAML contain the same document. In YAML, a fingerprint that looks like a number stays a
// string.
func TestDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := few()
		st.Remotes[0].Keys = map[int]string{0: "00112233", 7: "12345e12", 8: "0x123456"}
		st.Remotes[0].Detail = "two\nlines: \"quoted\" # and é"
		for format, c := range map[string]struct {
			encode func(mirror.Status) ([]byte, error)
			decode func([]byte, any) error
		}{
			"json": {Options{}.json, json.Unmarshal},
			"yaml": {Options{}.yaml, func(text []byte, to any) error { return yaml.UnmarshalStrict(text, to) }},
		} {
			text, err := c.encode(st)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			plain, err := json.Marshal(st)
			if err = errors.Join(err, json.Unmarshal(plain, &want), c.decode(text, &got)); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s contains a different document:\n%s", format, text)
			}
		}
	})
}

// A JSON stream has one document per line. A YAML stream has "---" before each document.
func TestStreams(t *testing.T) {
	for name, c := range map[string]struct {
		begin, separator string
	}{"json": {`{"source":`, "\n{"}, "yaml": {"---\n", "\n---\n"}} {
		var out bytes.Buffer
		write := Options{Format: name, Stream: true}.To(&out)
		for range 3 {
			if err := write(few()); err != nil {
				t.Fatal(err)
			}
		}
		if text := out.String(); !strings.HasPrefix(text, c.begin) || strings.Count(text, c.separator) != 2 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// Leaving out remotes that are well doesn't change the rest of the document.
func TestDocumentOfTheUnwell(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mirror.Status)
		want   []string
	}{
		"some": {func(*mirror.Status) {}, []string{"iad", "nrt", "ord", "syd"}},
		"none": {func(st *mirror.Status) { st.Remotes = st.Remotes[:1] }, []string{}},
		"source": {func(st *mirror.Status) {
			st.Remotes, st.Source.State, st.Source.Term = st.Remotes[:1], mirror.SourceAbsent, ptr.To(2)
		}, []string{}},
	} {
		st := few()
		c.change(&st)
		before := len(st.Remotes)
		var out bytes.Buffer
		if err := (Options{Format: "json", OnlyUnwell: true}).To(&out)(st); err != nil {
			t.Fatal(err)
		}
		var got mirror.Status
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		names := []string{}
		for _, r := range got.Remotes {
			names = append(names, r.Name)
		}
		if got.Remotes == nil || !reflect.DeepEqual(names, c.want) || got.Source.State != st.Source.State || len(st.Remotes) != before {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

// If the output of status --watch is a pipe, an empty line follows each table, and there are no
// others.
func TestTablesInAPipe(t *testing.T) {
	var out bytes.Buffer
	write := Options{Stream: true}.To(&out)
	for range 2 {
		if err := write(few()); err != nil {
			t.Fatal(err)
		}
	}
	first, second, _ := strings.Cut(out.String(), "\n\n")
	if first+"\n\n" != second || strings.Count(first, "REMOTE ") != 1 || strings.Contains(first, "\x1b") {
		t.Errorf("printed\n%s", out.String())
	}
}
