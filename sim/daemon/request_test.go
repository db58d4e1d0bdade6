package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

func TestEscapesAreRead(t *testing.T) {
	t.Parallel()
	calls, batch, err := parseRequest([]byte(` { "method":"get\u0062lock", "params":["a\"\\\n\u00e9", 1.5e3, null, {"k":[true,false]}], "id":"\u0041" } `), nil)
	if err != nil || batch || len(calls) != 1 {
		t.Fatal(calls, batch, err)
	}
	equal(t, "method", calls[0].method, "getblock")
	equal(t, "string", calls[0].params[0].string(), "a\"\\\né")
	equal(t, "number", string(calls[0].params[1].raw), "1.5e3")
	equal(t, "object", string(calls[0].params[3].raw), `{"k":[true,false]}`)
	equal(t, "id", string(calls[0].id), `"\u0041"`)
}

func TestParameterListsAreUsedAgainAndNotMixedUp(t *testing.T) {
	t.Parallel()
	calls, _, err := parseRequest([]byte(`[{"method":"a","params":[1,2,3]},{"method":"b","params":[4]}]`), nil)
	if err != nil {
		t.Fatal(err)
	}
	calls, _, err = parseRequest([]byte(`[{"method":"c"},{"method":"d","params":[5,6]},{"params":[7],"method":"e"}]`), calls)
	if err != nil || len(calls) != 3 {
		t.Fatal(calls, err)
	}
	equal(t, "c", len(calls[0].params), 0)
	equal(t, "d", string(calls[1].params[1].raw), "6")
	equal(t, "e", string(calls[2].params[0].raw), "7")
}

func TestAppendStringWritesJSON(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "plain", "\"\\\n\t\x00\x7f", "é€😀", "<a>&</a>", "\xff\xfe"} {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil || back != strings.ToValidUTF8(s, "\uFFFD") && s != "\xff\xfe" {
			t.Errorf("%q became %q, %v", s, back, err)
		}
	}
}

// FuzzRequest holds the scanner against encoding/json: whatever that takes is read
// the same here, within the bounds of depth and number.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `[]`, `7`, countCall, `[` + countCall + `,1]`, `{"method":"a","params":["\u00e9\"",{"a":[]},-1e9,true,null],"id":[1]}`,
		`{"method":"a\\","params":[ ],"params":{}}`, `[[[[[[[[[[]]]]]]]]]]`, `{"a":"\x"}`, `{"method":tru}`, `{"id":1,}`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		calls, batch, err := parseRequest(data, nil)
		deep := bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > maxDepth
		if !json.Valid(data) {
			return // a control character in a string is taken here, and harms nobody
		}
		if err != nil {
			if !deep {
				t.Fatalf("%q is JSON: %v", data, err)
			}
			return
		}
		if batch || calls[0].invalid != nil {
			return
		}
		var want struct {
			Method json.RawMessage
			Params json.RawMessage
		}
		if json.Unmarshal(data, &want) != nil || !bytes.Contains(data, []byte(`"method"`)) {
			return // keys in another case are other keys here
		}
		for i := range calls[0].params {
			_ = calls[0].params[i].string()
		}
		if calls[0].method == "" && len(want.Method) > 2 && bytes.Count(data, []byte("ethod")) == 1 {
			t.Fatalf("%q: method %s was lost", data, want.Method)
		}
	})
}

func TestManyClientsAtOnceGetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	d, _, r := recordedDaemon(t, Options{})
	var wg sync.WaitGroup
	for worker := range 4 {
		c := connect(t, d, d.URL())
		wg.Go(func() {
			for i := range 20 {
				status, answer, err := c.post(pairs(r, 10, worker*1000+i*10))
				if err != nil || status != http.StatusOK {
					t.Error(status, err)
					return
				}
				var replies []struct {
					ID     int
					Error  any
					Result struct{ Command, BibleHash, Recipient string }
				}
				if err := json.Unmarshal([]byte(answer), &replies); err != nil || len(replies) != 20 {
					t.Error(len(replies), err)
					return
				}
				for n, reply := range replies {
					// encoding/json reads biblehash and BibleHash into one field.
					if reply.ID != worker*1000+i*10+n/2 || reply.Error != nil ||
						(n%2 == 0) != (reply.Result.Command == "biblehash") || reply.Result.BibleHash != r.Fields[4] || (n%2 == 1) != (reply.Result.Recipient == r.Recipient) {
						t.Errorf("reply %d: %+v", n, reply)
					}
				}
			}
		})
	}
	wg.Wait()
}

// pairs is a batch of n times the two calls that judge a share.
func pairs(r *Recording, n, firstID int) string {
	f := r.Fields
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"jsonrpc":"1.0","id":%d,"method":"exec","params":["biblehash","%s","%s","%s","%s","%s"]}`, firstID+i, f[0], f[1], f[2], f[3], f[13])
		fmt.Fprintf(&b, `,{"jsonrpc":"1.0","id":%d,"method":"exec","params":["hexblocktocoinbase","%s","%s"]}`, firstID+i, f[14], f[15])
	}
	return "[" + b.String()[1:] + "]"
}

// BenchmarkPairs is what one share costs the daemon, in batches of 256, over HTTP.
func BenchmarkPairs(b *testing.B) {
	for _, instant := range []bool{false, true} {
		b.Run(fmt.Sprintf("instant=%v", instant), func(b *testing.B) {
			d, stop, err := Start(Options{StandAtRecorded: true, Instant: instant})
			if err != nil {
				b.Fatal(err)
			}
			defer stop()
			const size = 256
			body := pairs(Recorded(), size, 0)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			for n := 0; n < b.N; n += size {
				r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, d.URL(), strings.NewReader(body))
				r.SetBasicAuth(d.Credentials())
				resp, err := client.Do(r)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := new(bytes.Buffer).ReadFrom(resp.Body); err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
}
