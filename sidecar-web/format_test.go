package web

import (
	"math"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for want, got := range map[string]string{
		"0": formatNumber(0), "999": formatNumber(999), "1,000": formatNumber(1000), "−1,234,567": formatNumber(-1_234_567),
		"−9,223,372,036,854,775,808": formatNumber(math.MinInt64),
		"0.00":                       formatCoins(0), "0.00000001": formatCoins(1), "5,492.00": formatCoins(5492 * satoshisPerCoin),
		"−0.07": formatCoins(-7_000_000), "1.2345": formatCoins(123_450_000), "92,233,720,368.54775807": formatCoins(math.MaxInt64),
		"0 H/s": plain(formatRate(0)), "999 H/s": plain(formatRate(999)), "1.00 kH/s": plain(formatRate(1000)),
		"12.3 kH/s": plain(formatRate(12_345)), "123 kH/s": plain(formatRate(123_456)), "1.00 MH/s": plain(formatRate(999_999)),
		"9.22 EH/s": plain(formatRate(math.MaxInt64)),
		"58 %":      plain(formatPercent(0.583)), "5.8 %": plain(formatPercent(0.0583)), "434 %": plain(formatPercent(4.34)), "–": formatPercent(-1),
		"59 s": plain(formatSpan(59 * time.Second)), "1 min": plain(formatSpan(119 * time.Second)), "1 h 51 min": plain(formatSpan(111 * time.Minute)),
		"7 h": plain(formatSpan(7*time.Hour + 30*time.Minute)), "3 days": plain(formatSpan(80 * time.Hour)), "2 h": plain(formatSpan(2 * time.Hour)),
		"0.0000153": difficulty(65537, "x11"), "1.00": difficulty(65536, "scrypt"), "1,234": difficulty(1234.5*math.Exp2(32), "x11"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func plain(s string) string { return strings.ReplaceAll(s, nbsp, " ") }

func FuzzFormat(f *testing.F) {
	f.Add(int64(0), 0.0)
	f.Add(int64(math.MinInt64), math.Inf(1))
	f.Add(int64(math.MaxInt64), math.NaN())
	f.Fuzz(func(t *testing.T, n int64, v float64) {
		digits := strings.NewReplacer(",", "", "−", "-", ".", "").Replace(string(coinsHTML(n)))
		if strings.ContainsAny(digits, "eE+") && !strings.Contains(digits, "span") {
			t.Errorf("%d coins are %q", n, digits)
		}
		for _, text := range []string{formatNumber(n), formatCoins(n), formatSI(v, "H"), formatPercent(v), formatSpan(time.Duration(n)), difficulty(v, "x11")} {
			if text == "" || len(text) > 400 {
				t.Errorf("%d, %v: %q", n, v, text)
			}
		}
	})
}

func TestOnlyTrustedProxiesSayForWhomTheySpeak(t *testing.T) {
	v := newVisitors(Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}, RatePerIP: 1, BurstPerIP: 1})
	for _, c := range []struct{ peer, forwarded, real, want string }{
		{"203.0.113.9:1234", "198.51.100.7", "", "203.0.113.9/32"},
		{"10.1.2.3:1234", "198.51.100.7", "", "198.51.100.7/32"},
		{"10.1.2.3:1234", "1.2.3.4, 198.51.100.7, 10.9.9.9", "", "198.51.100.7/32"},
		{"10.1.2.3:1234", "1.2.3.4, junk", "", "10.1.2.3/32"},
		{"10.1.2.3:1234", "junk", "198.51.100.8", "198.51.100.8/32"},
		{"10.1.2.3:1234", "", "", "10.1.2.3/32"},
		{"192.0.2.1:1", "2001:db8:1:2:3::4", "", "2001:db8:1:2::/64"},
		{"192.0.2.1:1", "[2001:db8::1]:99", "", "2001:db8::/64"},
		{"192.0.2.1:1", "::ffff:198.51.100.7", "", "198.51.100.7/32"},
		{"192.0.2.1:1", strings.Repeat("9", 5000), "", "192.0.2.1/32"},
		{"[::1]:5", "1.2.3.4", "", "::/64"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-For", c.forwarded)
		r.Header.Set("X-Real-IP", c.real)
		if got := v.of(r).String(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestAcceptedEncodingsAreRead(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "gzip": true, "br, gzip": true, "gzip;q=0": false, "gzip; q=0.5": true, "*": true, "*;q=0": false, "identity": false, "GZIP": true, "xgzip": false,
	} {
		if got := takesGzip(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func TestEveryRefusalHasAdvice(t *testing.T) {
	for reason, a := range advices() {
		if a.Meaning == "" || a.Do == "" || !strings.HasSuffix(a.Meaning, ".") || !strings.HasSuffix(a.Do, ".") && !strings.HasSuffix(a.Do, "?") {
			t.Errorf("%s: %+v", reason, a)
		}
	}
	for _, unknown := range []string{"", "SomethingNew", "TransactionTampered: Something new"} {
		if a := adviceFor(unknown); a.Meaning == "" || a.Do == "" {
			t.Errorf("%q: %+v", unknown, a)
		}
	}
}

func TestEveryReasonOfTheValidatorIsExplained(t *testing.T) {
	files, err := filepath.Glob("../pool/validate/*.go")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	names := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`Reason\s*=\s*"([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
			names++
			if _, known := advices()[m[1]]; !known {
				t.Errorf("nobody tells a miner what %q means", m[1])
			}
		}
	}
	if names < 20 {
		t.Errorf("only %d reasons found", names)
	}
}
