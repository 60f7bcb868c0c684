package testenv

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
)

// Repository is a key repository as in the Secret: keys by index.
type Repository map[string][]byte

// NewRepository returns a repository of size keys: a staged key, and the size-1 indices up to
// primary, as after some rotations. NewRepository(1, 2) has the same indices as after
// keystone-manage fernet_setup.
func (k *Keys) NewRepository(primary, size int) Repository {
	r := Repository{"0": []byte(k.New())}
	for index := primary; index > max(0, primary-size+1); index-- {
		r[strconv.Itoa(index)] = []byte(k.New())
	}
	return r
}

// Rotated returns r after one keystone-manage fernet_rotate: the staged key becomes the primary, a
// new key is staged, and the lowest indices are removed until at most maxActive keys remain. It
// doesn't modify r, which must have a key 0.
func (k *Keys) Rotated(r Repository, maxActive int) Repository {
	next := maps.Clone(r)
	next[strconv.Itoa(r.Primary()+1)] = r["0"]
	next["0"] = []byte(k.New())
	indices := next.indices()
	for _, index := range indices[:max(0, len(indices)+1-maxActive)] {
		delete(next, strconv.Itoa(index))
	}
	return next
}

// Primary returns the highest index, or 0 if there is none above 0.
func (r Repository) Primary() int {
	indices := r.indices()
	if len(indices) == 0 {
		return 0
	}
	return indices[len(indices)-1]
}

// Equal reports whether data has exactly the indices and bytes of r.
func (r Repository) Equal(data map[string][]byte) bool {
	return maps.EqualFunc(r, Repository(data), bytes.Equal)
}

// indices returns the indices above 0 in ascending order.
func (r Repository) indices() []int {
	var all []int
	for name := range r {
		if index, err := strconv.Atoi(name); err == nil && index > 0 {
			all = append(all, index)
		}
	}
	slices.Sort(all)
	return all
}
