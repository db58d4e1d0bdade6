package httpcompat

import (
	"strconv"
	"strings"

	"purepool/pool"
)

// The answers. Clients in the field match them as text: not one byte may change.
// Head and body go out in one write, and the spelling of Content-Length matters,
// because the client over TLS counts from it (docs/PROTOCOL.md).
const (
	answerHead = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: "
	answerRest = "\r\nConnection: close\r\n\r\n"

	answerBadRequest = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: "
	answerNotFound   = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0" + answerRest

	grantAddress = "<RESPONSE> <ADDRESS>"
	grantTarget  = "</ADDRESS><HASHTARGET>"
	grantGUID    = "</HASHTARGET><MINERGUID>"
	grantWork    = "</MINERGUID><WORKID>"
	grantEnd     = "</WORKID></RESPONSE>"

	receiptWork = "<RESPONSE><STATUS>ok</STATUS><WORKID>"
	receiptEnd  = "</WORKID></RESPONSE><END></HTML>"

	errorResponse = "<RESPONSE>"
	errorError    = "</RESPONSE><ERROR>"
	errorEnd      = "</ERROR><EOF>"
)

// maxEcho bounds an error's text and an echoed work id, in bytes before escaping:
// a client leaves a line at 50,000 bytes, and nobody shall get megabytes back.
const maxEcho = 1024

func appendHead(b []byte, start string, length int) []byte {
	b = append(b, start...)
	b = strconv.AppendInt(b, int64(length), 10)
	return append(b, answerRest...)
}

// appendGrant appends the answer to a request for work.
func appendGrant(b []byte, g pool.WorkGrant) []byte {
	const fixed = len(grantAddress) + len(grantTarget) + len(grantGUID) + len(grantWork) + len(grantEnd)
	b = appendHead(b, answerHead, fixed+len(g.PoolAddress)+len(g.HashTarget)+len(g.MinerGUID)+len(g.WorkID))
	b = append(append(b, grantAddress...), g.PoolAddress...)
	b = append(append(b, grantTarget...), g.HashTarget...)
	b = append(append(b, grantGUID...), g.MinerGUID...)
	b = append(append(b, grantWork...), g.WorkID...)
	return append(b, grantEnd...)
}

// appendReceipt appends the answer to a solution that was taken.
func appendReceipt(b []byte, r pool.SolutionReceipt) []byte {
	var room [64]byte
	work := appendEscaped(room[:0], r.WorkID)
	b = appendHead(b, answerHead, len(receiptWork)+len(work)+len(receiptEnd))
	b = append(append(b, receiptWork...), work...)
	return append(b, receiptEnd...)
}

// appendError appends the error answer with a text, under the given first lines.
func appendError(b []byte, start, text string) []byte {
	var room [256]byte
	m := appendEscaped(room[:0], text)
	b = appendHead(b, start, len(errorResponse)+len(errorError)+len(errorEnd)+2*len(m))
	b = append(append(b, errorResponse...), m...)
	b = append(append(b, errorError...), m...)
	return append(b, errorEnd...)
}

// appendEscaped appends s, cut to maxEcho bytes, so that it is nothing but text in
// an HTML page and in one line: the original echoed what it got, tags and all.
func appendEscaped(b []byte, s string) []byte {
	if len(s) > maxEcho {
		s = string(clip([]byte(s), maxEcho)) + "…"
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	for i := range len(s) {
		switch c := s[i]; {
		case c == '<':
			b = append(b, "&lt;"...)
		case c == '>':
			b = append(b, "&gt;"...)
		case c == '&':
			b = append(b, "&amp;"...)
		case c == '"':
			b = append(b, "&#34;"...)
		case c == '\'':
			b = append(b, "&#39;"...)
		case c < 0x20 && c != '\t' || c == 0x7f:
			b = append(b, ' ')
		default:
			b = append(b, c)
		}
	}
	return b
}
