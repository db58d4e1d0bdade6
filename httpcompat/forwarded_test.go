package httpcompat_test

import (
	"strings"
	"testing"

	"purepool/httpcompat"
	"purepool/httpcompat/recorded"
)

func TestForwardedForIsIgnoredFromStrangers(t *testing.T) {
	desk := newRecordedDesk(t)
	s := start(t, httpcompat.Config{}, desk)
	for _, line := range []string{"X-Forwarded-For: 203.0.113.9", "X-Real-IP: 203.0.113.9", "X_Forwarded_For: 203.0.113.9"} {
		s.ask(t, post("Action: readytomine2", "NetworkID: main", "Miner: B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", line))
		if ip := desk.tables.Load().lastWork().RemoteIP.String(); ip != "127.0.0.1" {
			t.Errorf("%s: work for %s", line, ip)
		}
	}
}

// The addresses that the original wrote down in the recorded cases 057 to 065, or
// failed on, when the peer is a trusted proxy.
func TestForwardedForIsTakenFromTrustedProxies(t *testing.T) {
	desk := newRecordedDesk(t)
	s := start(t, httpcompat.Config{TrustedProxies: prefixes("127.0.0.0/8", "10.0.0.0/8")}, desk)
	for line, want := range map[string]string{
		"X-Forwarded-For: 198.51.100.7, 203.0.113.9":                                  "203.0.113.9", // 058
		"X-Forwarded-For: 2001:db8::1":                                                "2001:db8::1", // 059
		"X-Forwarded-For: garbage":                                                    "127.0.0.1",
		"X-Forwarded-For: 198.51.100.7:1234":                                          "198.51.100.7", // 061
		"X-Forwarded-For: 198.51.100.7,":                                              "198.51.100.7", // 062
		"X-Forwarded-For: ":                                                           "127.0.0.1",
		"X-Real-IP: 203.0.113.9":                                                      "203.0.113.9", // 064
		"X_Forwarded_For: 203.0.113.77":                                               "127.0.0.1",   // 065, on purpose
		"X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.1.2.3":                             "203.0.113.9",
		"X-Forwarded-For: 1.2.3.4, junk, 10.1.2.3":                                    "10.1.2.3",
		"X-Forwarded-For: 10.3.3.3, 10.1.2.3":                                         "10.3.3.3",
		"X-Forwarded-For: [2001:db8::1]:99":                                           "2001:db8::1",
		"X-Forwarded-For: ::ffff:203.0.113.9":                                         "203.0.113.9",
		"X-Forwarded-For: fe80::1%eth0":                                               "fe80::1",
		"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.10":               "203.0.113.10",
		"X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.11":                     "203.0.113.9",
		"X-Forwarded-For: junk\r\nX-Real-IP: 203.0.113.11":                            "203.0.113.11",
		"X-Real-IP: junk":                                                             "127.0.0.1",
		"X-Forwarded-For: 203.0.113.8, " + strings.Repeat("9", 1000) + ", 10.0.0.1":   "10.0.0.1",
		"X-Forwarded-For: " + strings.Repeat("203.0.113.7, ", 2000) + " 203.0.113.13": "203.0.113.13",
	} {
		_, body := s.ask(t, post("Action: readytomine2", "NetworkID: main", "Miner: B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", line))
		if !strings.Contains(body, "<WORKID>") {
			t.Errorf("%.60s: %s", line, body)
		}
		if ip := desk.tables.Load().lastWork().RemoteIP.String(); ip != want {
			t.Errorf("%.60s: work for %s, want %s", line, ip, want)
		}
	}
}

func TestLimitsOfAnAddressHoldBehindAProxy(t *testing.T) {
	s := start(t, httpcompat.Config{
		TrustedProxies: prefixes("127.0.0.1/32"), Limits: httpcompat.Limits{RatePerIP: 0.001, BurstPerIP: 2},
	}, instantDesk())
	from := func(ip string) string {
		_, body := s.ask(t, post("Action: readytomine2", "X-Forwarded-For: "+ip))
		return body
	}
	for _, want := range []string{grantBody, grantBody, errorBody("Too many requests from your address, please slow down")} {
		if body := from("203.0.113.9"); body != want {
			t.Error(body)
		}
	}
	if body := from("203.0.113.10"); body != grantBody {
		t.Error(body)
	}
	for range 5 { // the proxy itself has no limit
		if _, body := s.ask(t, workRequest); body != grantBody {
			t.Error(body)
		}
	}
}

func TestRecordedCasesAlsoFromTrustedProxies(t *testing.T) {
	s := start(t, httpcompat.Config{TrustedProxies: prefixes("127.0.0.1/32")}, newRecordedDesk(t))
	recorded.Run(t, recorded.Target{Addr: s.addr})
}
