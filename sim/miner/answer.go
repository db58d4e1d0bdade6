package miner

import (
	"errors"
	"fmt"
	"html"
	"strings"

	"purepool/pool/chain"
	"purepool/pool/pow"
)

// Answer is a pool's answer as the client understands it.
type Answer struct {
	Text     string // all that was read, head included
	Response string // between <RESPONSE> and </RESPONSE>
	Error    string // between <ERROR> and </ERROR>, a failure where it is not empty; unescaped
}

func newAnswer(text []byte) Answer {
	s := string(text)
	return Answer{Text: s, Response: extract(s, "RESPONSE"), Error: html.UnescapeString(extract(s, "ERROR"))}
}

// OK reports whether a solution was taken.
func (a *Answer) OK() bool { return a.Error == "" && extract(a.Response, "STATUS") == "ok" }

// extract is the client's ExtractXML: what stands between the first start tag and
// the next end tag.
func extract(s, tag string) string {
	_, rest, ok := strings.Cut(s, "<"+tag+">")
	if !ok {
		return ""
	}
	text, _, ok := strings.Cut(rest, "</"+tag+">")
	if !ok {
		return ""
	}
	return text
}

// Work is what a pool hands out.
type Work struct {
	PoolAddress chain.Address
	Target      pow.Target
	MinerGUID   string
	WorkID      string
}

// ErrNoWork is an answer to readytomine2 from which the client can take no work.
var ErrNoWork = errors.New("no work")

// Work reads the answer to readytomine2, with the client's own checks: the
// address is one of the network, the target has 64 digits.
func (a *Answer) Work(network chain.Network) (Work, error) {
	if a.Error != "" {
		return Work{}, fmt.Errorf("%w: %s", ErrNoWork, a.Error)
	}
	w := Work{MinerGUID: extract(a.Response, "MINERGUID"), WorkID: extract(a.Response, "WORKID")}
	var err error
	if w.PoolAddress, err = chain.DecodeAddress(extract(a.Response, "ADDRESS"), network); err != nil {
		return Work{}, fmt.Errorf("%w: INVALID POOL ADDRESS: %w", ErrNoWork, err)
	}
	if w.Target, err = pow.ParseTarget(extract(a.Response, "HASHTARGET")); err != nil {
		return Work{}, fmt.Errorf("%w: POOL HAS NO AVAILABLE WORK: %w", ErrNoWork, err)
	}
	if w.MinerGUID == "" || w.WorkID == "" {
		return Work{}, fmt.Errorf("%w: no MINERGUID or WORKID", ErrNoWork)
	}
	return w, nil
}
