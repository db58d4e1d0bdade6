package logging

import (
	"encoding"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
)

// shortenAttr shortens addresses in an attribute, whatever its type. The message
// is one too: libraries put text into it.
func shortenAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return a
	}
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(Shorten(a.Value.String()))
	case slog.KindAny:
		// What holds no address stays what it is, for the sake of JSON.
		text := textOf(a.Value.Any())
		if short := Shorten(text); short != text {
			a.Value = slog.StringValue(short)
		}
	default: // numbers, times, durations
	}
	return a
}

func textOf(v any) string {
	switch v := v.(type) {
	case error:
		return v.Error()
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err == nil {
			return string(text)
		}
	}
	return fmt.Sprintf("%+v", v)
}

var (
	// base58Run is as long as a base58check address, or nearly: a mistyped one says
	// as much about its owner. Hex digests are longer, UUIDs have hyphens.
	base58Run = regexp.MustCompile(`\b[1-9A-HJ-NP-Za-km-z]{25,36}\b`)
	bech32Run = regexp.MustCompile(`\b[a-z]{2,5}1[02-9ac-hj-np-z]{25,87}\b`)
	ipv4Run   = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?\b`)
	// ipv6Run is what may hold one: at least two colons, and all that can stand
	// beside them.
	ipv6Run = regexp.MustCompile(`[0-9A-Za-z.]*:[0-9A-Za-z.]*:[0-9A-Za-z:.]*`)
)

// Shorten replaces in text every miner's address by its ends (yXXXX…abcd) and
// every public IP address by its network (203.0.113.0/24, 2001:db8:1::/48).
// Loopback, private and link-local addresses are the pool's own and stay.
func Shorten(text string) string {
	if len(text) < len("1.2.3.4") {
		return text
	}
	text = base58Run.ReplaceAllStringFunc(text, func(run string) string {
		if !strings.ContainsAny(run, "123456789") || strings.ToLower(run) == run || strings.ToUpper(run) == run {
			return run // a word
		}
		return ends(run)
	})
	text = bech32Run.ReplaceAllStringFunc(text, ends)
	// Version 6 first: ::ffff:203.0.113.5 holds one of version 4.
	text = ipv6Run.ReplaceAllStringFunc(text, func(run string) string {
		for at := 0; ; { // "error:2001:db8::1." holds an address too
			core := strings.TrimRight(run[at:], ".")
			if !strings.HasSuffix(core, "::") {
				core = strings.TrimSuffix(core, ":")
			}
			if short := network(core); short != core {
				return run[:at] + short + run[at+len(core):]
			}
			next := strings.IndexByte(run[at:], ':')
			if next < 0 {
				return run
			}
			at += next + 1
		}
	})
	return ipv4Run.ReplaceAllStringFunc(text, network)
}

func ends(address string) string { return address[:5] + "…" + address[len(address)-4:] }

func network(text string) string {
	address, err := netip.ParseAddr(text)
	if err != nil {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Bits() <= 24 {
			return text // a time of day, a version, a network
		}
		address = prefix.Addr()
	}
	address = address.Unmap()
	if address.IsLoopback() || address.IsPrivate() || address.IsLinkLocalUnicast() || address.IsUnspecified() || address.IsMulticast() {
		return text
	}
	bits := 48
	if address.Is4() {
		bits = 24
	}
	return netip.PrefixFrom(address, bits).Masked().String()
}
