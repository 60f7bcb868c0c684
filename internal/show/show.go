// Package show writes a status as tables for people or documents for programs.
package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/fernetcast/fernetcast/internal/mirror"
	"sigs.k8s.io/yaml"
)

// Formats are the valid values of [Options.Format].
var Formats = []string{"table", "wide", "json", "yaml"}

// Options configure the output of a status. The zero value writes one table.
type Options struct {
	Format string // "" means "table"
	// OnlyUnwell omits the remotes that are well. The summary of a table still counts them.
	OnlyUnwell bool
	// Stream means that statuses are written repeatedly. On a terminal, each table replaces the
	// previous one.
	Stream bool
}

// To returns a function that writes a status to out in one Write. Format must be one of Formats.
func (o Options) To(out io.Writer) func(mirror.Status) error {
	encode := o.table(out)
	switch o.Format {
	case "json":
		encode = o.json
	case "yaml":
		encode = o.yaml
	}
	return func(st mirror.Status) error {
		text, err := encode(st)
		if err != nil {
			return fmt.Errorf("encoding the status: %w", err)
		}
		if _, err := out.Write(text); err != nil {
			return fmt.Errorf("writing the status: %w", err)
		}
		return nil
	}
}

// table returns a function that formats a status as a table. In a stream, each table overwrites the
// previous one if the output supports cursor movement. Otherwise, an empty line follows each table.
func (o Options) table(out io.Writer) func(mirror.Status) ([]byte, error) {
	first := true
	return func(st mirror.Status) ([]byte, error) {
		// The terminal may have been resized.
		t := table{Screen: ScreenOf(out), wide: o.Format == "wide", onlyUnwell: o.OnlyUnwell}
		if t.fits = o.Stream && t.Redraws; t.fits {
			frame := t.frame(t.lines(st), first)
			first = false
			return []byte(frame), nil
		}
		text := t.text(st)
		if o.Stream {
			text += "\n"
		}
		return []byte(text), nil
	}
}

// json encodes a document, on one line if it is part of a stream.
func (o Options) json(st mirror.Status) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	if !o.Stream {
		encoder.SetIndent("", "  ")
	}
	err := encoder.Encode(o.chosen(st))
	return text.Bytes(), err
}

// yaml encodes a document, with a "---" line before it if it is part of a stream.
func (o Options) yaml(st mirror.Status) ([]byte, error) {
	text, err := yaml.Marshal(o.chosen(st))
	if o.Stream {
		text = append([]byte("---\n"), text...)
	}
	return text, err
}

func (o Options) chosen(st mirror.Status) mirror.Status {
	if o.OnlyUnwell {
		st.Remotes = unwell(st.Remotes)
	}
	return st
}

// unwell returns the remotes that aren't well.
func unwell(remotes []mirror.RemoteStatus) []mirror.RemoteStatus {
	return slices.DeleteFunc(slices.Clone(remotes), func(r mirror.RemoteStatus) bool { return r.State.Well() })
}
