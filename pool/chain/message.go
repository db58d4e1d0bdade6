package chain

import (
	"bytes"
	"strings"
)

// Tag returns what stands between the first <name> of a message and the next
// </name>, as the client's ExtractXML does; nil where either is missing. The
// bytes are the miner's: any bytes at all.
func Tag(message []byte, name string) []byte {
	_, rest, found := bytes.Cut(message, []byte("<"+name+">"))
	if !found {
		return nil
	}
	text, _, found := bytes.Cut(rest, []byte("</"+name+">"))
	if !found {
		return nil
	}
	return text
}

// MinerGUID returns the MINERGUID in the message of the first output, where the
// daemon looks for it: a UUID of 36 characters in lower case. Empty where there
// is none, or where it is written in any other way than 8-4-4-4-12 hex digits.
func (t *Transaction) MinerGUID() string {
	guid := t.firstTag("MINERGUID")
	if len(guid) != 36 {
		return ""
	}
	for i, c := range guid {
		switch dash := i == 8 || i == 13 || i == 18 || i == 23; {
		case dash && c == '-':
		case !dash && isHexDigit(c):
		default:
			return ""
		}
	}
	return strings.ToLower(string(guid))
}

// ClientVersion returns the client's version in the message of the first output
// (tag VER): at most 32 characters, and empty where there is none or it holds
// anything but printable ASCII.
func (t *Transaction) ClientVersion() string {
	version := t.firstTag("VER")
	if len(version) > 32 {
		return ""
	}
	for _, c := range version {
		if c < ' ' || c > '~' {
			return ""
		}
	}
	return string(version)
}

func (t *Transaction) firstTag(name string) []byte {
	if len(t.Outputs) == 0 {
		return nil
	}
	return Tag(t.Outputs[0].Message, name)
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
