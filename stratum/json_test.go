package stratum

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScannerFindsThePartsOfARequest(t *testing.T) {
	for line, want := range map[string]message{
		`{"id":1,"method":"mining.ping","params":[]}`:           {id: []byte("1"), method: []byte("mining.ping"), params: []byte("[]")},
		`{"params":["a",{"b":[1,2]}],"id":"x\"y","method":"m"}`: {id: []byte(`"x\"y"`), method: []byte("m"), params: []byte(`["a",{"b":[1,2]}]`)},
		` { "method" : "m" , "id" : null } `:                    {id: []byte("null"), method: []byte("m")},
		`{"method":"m\u0069ning"}`:                              {method: []byte("mining")},
		`{"id":[1,{"a":2}],"method":"m"}`:                       {id: []byte(`[1,{"a":2}]`), method: []byte("m")},
		"{\"id\":-1.5e+3,\"method\":\"\xff\x01\"}":              {id: []byte("-1.5e+3"), method: []byte("\xff\x01")},
		`{"id":7,"result":"cgminer/4.11","error":null}`:         {id: []byte("7"), answer: true},
		`{}`: {},
		`{"jsonrpc":"2.0","id":true,"method":"m","params":{"a":1}}`: {id: []byte("true"), method: []byte("m"), params: []byte(`{"a":1}`)},
	} {
		var got message
		if err := parseMessage([]byte(line), &got); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if !bytes.Equal(got.id, want.id) || !bytes.Equal(got.method, want.method) || !bytes.Equal(got.params, want.params) || got.answer != want.answer {
			t.Errorf("%s: id %s, method %s, params %s, answer %v", line, got.id, got.method, got.params, got.answer)
		}
	}
}

func TestScannerRefusesWhatIsNoRequest(t *testing.T) {
	for _, line := range []string{
		``, ` `, `{`, `}`, `[]`, `1`, `"a"`, `{"id"}`, `{"id":}`, `{"id":1,}`, `{"id":1 "method":"m"}`, `{"id":1}x`, `{id:1}`,
		`{"id":01}`, `{"id":1.}`, `{"id":.5}`, `{"id":+1}`, `{"id":1e}`, `{"id":-}`, `{"id":nul}`, `{"id":tru}`, `{"id":"a}`,
		`{"id":"\x"}`, `{"id":"\u12g4"}`, `{"id":"\u12"}`, `{"id":[1,]}`, `{"id":[1 2]}`, `{"id":{"a":1,}}`, `{"id":{"a"}}`, `{"id":[}`,
		`{"method":5}`, `{"method":null}`, `{"method":["m"]}`, "\x16\x03\x01\x02", "GET / HTTP/1.1",
		`{"id":"` + strings.Repeat("x", maxID) + `"}`,
		`{"params":` + strings.Repeat("[", 100_000),
		`{"params":` + strings.Repeat(`{"a":`, 100_000),
		`{"params":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
	} {
		var m message
		if err := parseMessage([]byte(line), &m); err == nil {
			t.Errorf("%.60q was taken", line)
		}
	}
}

func TestScannerAllocatesNothing(t *testing.T) {
	line := []byte(`{"params": ["B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH.rig1", "1a2b0", "00000001", "504e86b9", "b2957c02"], "id": 4, "method": "mining.submit"}`)
	var m message
	if n := testing.AllocsPerRun(100, func() {
		if err := parseMessage(line, &m); err != nil {
			t.Error(err)
		}
		l := listOf(m.params)
		for {
			if _, ok := l.nextText(); !ok {
				break
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNumbersAreReadFromHexInEitherCase(t *testing.T) {
	if n, ok := hex32([]byte("DeadBEEF")); !ok || n != 0xdeadbeef {
		t.Error(n, ok)
	}
	for _, bad := range []string{"", "123456789", "g", "-1", " 1", "0x1"} {
		if _, ok := hex32([]byte(bad)); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	var two [2]byte
	if !hexBytes(two[:], []byte("aBcD")) || two != [2]byte{0xab, 0xcd} {
		t.Error(two)
	}
}

// Whatever encoding/json takes as a request is taken here with the same parts,
// and whatever is taken here is JSON, apart from the bytes between quotes, where
// tabs and the like may stand.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{
		`{"id":1,"method":"mining.subscribe","params":["cgminer/4.11.1","ae6812eb"]}`,
		`{"id":"a","method":"mining.submit","params":["w","1f0","00000000","5f5e1000","deadbeef"]}`,
		`{"id":null,"method":"solution","params":{"Miner":"B9","Solution":"a,b"}}`,
		`{"id":{"a":[1,2,{"b":null}]},"method":"m\u00e9","params":[1.5e-3,true,false,"\\\"\/\b\f\n\r\t\ud83d\ude00"]}`,
		"{\"method\":\"\xff\"}", `[[[[`, `{"a":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.IndexByte(line, '\n') >= 0 {
			return
		}
		var m message
		err := parseMessage(line, &m)
		var want struct {
			ID     json.RawMessage `json:"id"`
			Method *string         `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		var keys map[string]json.RawMessage
		theirs := json.Unmarshal(line, &keys)
		if err == nil && utf8.Valid(line) && !bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
			if theirs != nil {
				t.Fatalf("taken: %q, which is no JSON: %v", line, theirs)
			}
		}
		if err != nil || theirs != nil {
			return
		}
		for l := listOf(m.params); ; {
			if _, ok := l.next(); !ok {
				break
			}
		}
		for o := membersOf(m.params); ; {
			if _, _, ok := o.next(); !ok {
				break
			}
		}
		// encoding/json matches keys in any case and decodes escapes in them: compare
		// only where every key is spelled plainly.
		for k := range keys {
			if k != "id" && k != "method" && k != "params" {
				return
			}
		}
		if strings.Count(string(line), `"method"`) > 1 || strings.Count(string(line), `"id"`) > 1 || strings.Count(string(line), `"params"`) > 1 {
			return
		}
		if json.Unmarshal(line, &want) != nil || !utf8.Valid(line) || bytes.Contains(line, []byte(`\`)) {
			return
		}
		if want.Method != nil && string(m.method) != *want.Method {
			t.Fatalf("method %q, want %q", m.method, *want.Method)
		}
		if string(m.id) != string(want.ID) || string(m.params) != string(want.Params) {
			t.Fatalf("%q: id %q, want %q; params %q, want %q", line, m.id, want.ID, m.params, want.Params)
		}
	})
}
