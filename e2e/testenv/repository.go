package testenv

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
)

// Repository is a key repository as the Secret holds it: index to key.
type Repository map[string][]byte

// NewRepository makes one that has been in use: a staged key 0, and the size-1
// highest indices up to primary. NewRepository(1, 2) is what keystone-manage
// fernet_setup makes.
func (k *Keys) NewRepository(primary, size int) Repository {
	r := Repository{"0": []byte(k.New())}
	for index := primary; index > max(0, primary-size+1); index-- {
		r[strconv.Itoa(index)] = []byte(k.New())
	}
	return r
}

// Rotated is r after one keystone-manage fernet_rotate: the staged key becomes
// the primary, a new one is staged, and the lowest indices go until at most
// maxActive keys are left. It does not change r, which must have a key 0.
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

// Primary is the highest index; 0 where there is none above it.
func (r Repository) Primary() int {
	indices := r.indices()
	if len(indices) == 0 {
		return 0
	}
	return indices[len(indices)-1]
}

// Equal tells whether data has exactly these indices and bytes.
func (r Repository) Equal(data map[string][]byte) bool {
	return maps.EqualFunc(r, Repository(data), bytes.Equal)
}

// indices are those above 0, ascending.
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
