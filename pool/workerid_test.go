package pool

import (
	"strings"
	"testing"
	"unicode/utf8"
)

const someAddress = "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH"

func TestWorkerIDIsTakenApart(t *testing.T) {
	long := strings.Repeat("w", 240)
	cases := []struct {
		raw  string
		want workerID
		ok   bool
	}{
		{someAddress, workerID{someAddress, DefaultWorker, ""}, true},
		{someAddress + "/", workerID{someAddress, DefaultWorker, ""}, true},
		{someAddress + "/rig1", workerID{someAddress, "rig1", ""}, true},
		{someAddress + "/rig1/a@b.c", workerID{someAddress, "rig1", "a@b.c"}, true},
		{someAddress + "//a@b.c", workerID{someAddress, DefaultWorker, "a@b.c"}, true},
		{someAddress + "/rig1/mail/more/parts", workerID{someAddress, "rig1", "mail"}, true},
		{someAddress + "/my rig", workerID{someAddress, "my rig", ""}, true},
		{someAddress + "/my__rig", workerID{someAddress, "my__rig", ""}, true},
		{someAddress + "/a\tb", workerID{someAddress, "a\tb", ""}, true},
		{someAddress + "/w\xf6rker", workerID{someAddress, "wörker", ""}, true},
		{someAddress + "/wörker", workerID{someAddress, "wörker", ""}, true},
		{someAddress + "/a\x00b", workerID{someAddress, "ab", ""}, true},
		{someAddress + "/" + long, workerID{someAddress, long[:100], ""}, true},
		{"", workerID{"", DefaultWorker, ""}, false},
		{"/", workerID{"", DefaultWorker, ""}, false},
		{"//", workerID{"", DefaultWorker, ""}, false},
		{"/rig", workerID{"", "rig", ""}, false},
	}
	for _, c := range cases {
		if got, ok := parseWorkerID(c.raw); got != c.want || ok != c.ok {
			t.Errorf("%q: %+v %v", c.raw, got, ok)
		}
	}
}

func TestTextIsCutBetweenCharacters(t *testing.T) {
	if got := cut("äöüß", 3); got != "äöü" {
		t.Errorf("%q", got)
	}
	if got := cut("abc", 3); got != "abc" {
		t.Errorf("%q", got)
	}
}

func FuzzWorkerID(f *testing.F) {
	for _, s := range []string{"", "/", "//", someAddress + "/rig1/a@b.c", someAddress + "/\xff\xfe\x00", strings.Repeat("/", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		id, ok := parseWorkerID(raw)
		if ok != (id.Address != "") {
			t.Fatal("an empty address passed")
		}
		for _, s := range []string{id.Address, id.Worker, id.Email} {
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00") {
				t.Fatalf("%q cannot be stored", s)
			}
		}
		if id.Worker == "" || utf8.RuneCountInString(id.Worker) > maxWorkerName || utf8.RuneCountInString(id.Email) > maxEmail {
			t.Fatalf("worker %q", id.Worker)
		}
	})
}
