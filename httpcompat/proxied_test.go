package httpcompat_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"purepool/httpcompat"
)

const (
	proxyV1 = "PROXY TCP4 203.0.113.9 198.51.100.1 40000 80\r\n"
	// Version 2, PROXY, TCP over IPv4, 12 bytes: 203.0.113.10 to 198.51.100.1.
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x0a\xc6\x33\x64\x01\x9c\x40\x00\x50"
	// Version 2, LOCAL: the balancer's own health check.
	proxyV2Local = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"

	askForWork = "Action: readytomine2\r\nNetworkID: main\r\nMiner: B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH"
)

// raw sends bytes and reads until the server closes.
func raw(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(c) // a reset is an end, too
	return string(answer)
}

func TestBalancerSaysForWhomItSpeaksInAPROXYHeader(t *testing.T) {
	desk := newRecordedDesk(t)
	s := start(t, httpcompat.Config{
		Listen:         []httpcompat.Listen{{Address: "127.0.0.1:0", Proxied: true}},
		TrustedProxies: prefixes("127.0.0.0/8"),
	}, desk)
	request := post(askForWork)
	for header, want := range map[string]string{
		proxyV1: "203.0.113.9", proxyV2: "203.0.113.10", proxyV2Local: "127.0.0.1",
		"PROXY TCP6 2001:db8::5 2001:db8::1 40000 80\r\n": "2001:db8::5",
	} {
		if answer := raw(t, s.addr, header+request); !strings.Contains(answer, "<WORKID>") {
			t.Errorf("%q: %q", header, answer)
		}
		if ip := desk.tables.Load().lastWork().RemoteIP.String(); ip != want {
			t.Errorf("%q: work for %s, want %s", header, ip, want)
		}
	}
	// What the client itself says about its address counts for nothing.
	raw(t, s.addr, proxyV1+post(askForWork, "X-Forwarded-For: 192.0.2.1"))
	if ip := desk.tables.Load().lastWork().RemoteIP.String(); ip != "203.0.113.9" {
		t.Errorf("work for %s: the client's own header was believed", ip)
	}
	for _, junk := range []string{request, "PROXY TCP4 junk\r\n" + request, "\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x0c" + request} {
		if answer := raw(t, s.addr, junk); answer != "" {
			t.Errorf("%.30q was answered %q", junk, answer)
		}
	}
	if n := s.closed(t, "proxy_header"); n != 3 {
		t.Errorf("%d connections counted as closed for their header, want 3", n)
	}
}

func TestPROXYHeaderOfAStrangerIsNoRequest(t *testing.T) {
	desk := newRecordedDesk(t)
	s := start(t, httpcompat.Config{
		Listen:         []httpcompat.Listen{{Address: "127.0.0.1:0", Proxied: true}},
		TrustedProxies: prefixes("10.0.0.0/8"),
	}, desk)
	if answer := raw(t, s.addr, proxyV1+post(askForWork)); strings.Contains(answer, "<WORKID>") {
		t.Errorf("a stranger's PROXY header was believed: %q", answer)
	}
	if answer := raw(t, s.addr, post(askForWork)); !strings.Contains(answer, "<WORKID>") {
		t.Errorf("a client past the balancer: %q", answer)
	}
}

func TestLimitsOfAnAddressHoldBehindAPROXYHeader(t *testing.T) {
	s := start(t, httpcompat.Config{
		Listen:         []httpcompat.Listen{{Address: "127.0.0.1:0", Proxied: true}},
		TrustedProxies: prefixes("127.0.0.0/8"),
		Limits:         httpcompat.Limits{RatePerIP: 0.001, BurstPerIP: 2},
	}, newRecordedDesk(t))
	for i := range 4 {
		answered := raw(t, s.addr, proxyV1+post(askForWork)) != ""
		if answered != (i < 2) {
			t.Errorf("request %d of one address: answered %v", i, answered)
		}
	}
	if raw(t, s.addr, proxyV2+post(askForWork)) == "" {
		t.Error("another address behind the same balancer was refused")
	}
}
