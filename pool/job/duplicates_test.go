package job

import (
	"testing"

	"pgregory.net/rapid"
)

// A set of keys is a map, whatever is put in and taken out, in any order.
func TestKeySetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s keySet
		model := make(map[uint64]bool)
		// Few keys with few homes: they meet, and come again after they were removed.
		keys := rapid.SliceOfN(rapid.Uint64Range(0, 300), 1, 1000).Draw(t, "keys")
		for i, key := range keys {
			key = key<<3 | 1
			at, known := s.find(key)
			if known != model[key] {
				t.Fatalf("step %d: key %d is known: %t", i, key, known)
			}
			if known {
				s.remove(key)
				delete(model, key)
			} else {
				s.put(at, key)
				model[key] = true
			}
			if s.count != len(model) || s.used < s.count || len(s.slots) < s.used {
				t.Fatalf("step %d: %d keys counted of %d, %d slots of %d", i, s.count, len(model), s.used, len(s.slots))
			}
		}
		for key := range model {
			if _, known := s.find(key); !known {
				t.Fatalf("key %d is lost", key)
			}
		}
	})
}

// While nothing can be stored, every share is put in and taken out again.
func TestKeySetDoesNotGrowByWhatIsTakenOut(t *testing.T) {
	var s keySet
	for i := range uint64(100_000) {
		key := i*0x9e3779b97f4a7c15 | 1
		at, _ := s.find(key)
		s.put(at, key)
		s.remove(key)
	}
	if s.count != 0 || len(s.slots) > 16 {
		t.Errorf("%d keys, %d slots", s.count, len(s.slots))
	}
}
