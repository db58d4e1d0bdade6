package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	// A fifth of the standard library's time, for nearly as few bytes.
	"github.com/klauspost/compress/gzip"
)

// answer is a whole answer, ready to be sent any number of times. It is never
// changed once it is made.
type answer struct {
	status      int
	contentType string
	body        []byte
	zipped      []byte // gzip; nil where that is no smaller
	etag        string // of body, without quotes
	maxAge      time.Duration
	public      bool   // may be read by pages of other hosts (CORS)
	link        string // of the next page
	warning     string // age of old data, in seconds
}

// zipFrom is the size from which on compressing pays.
const zipFrom = 600

func newAnswer(status int, contentType string, body []byte, maxAge time.Duration) *answer {
	sum := sha256.Sum256(body)
	return &answer{status: status, contentType: contentType, body: body, etag: hex.EncodeToString(sum[:9]), maxAge: maxAge}
}

// newAnswer makes an answer and its compressed form.
func (s *Server) newAnswer(status int, contentType string, body []byte, maxAge time.Duration) *answer {
	a := newAnswer(status, contentType, body, maxAge)
	if len(body) >= zipFrom {
		if z := s.zip(body); len(z) < len(body) {
			a.zipped = z
		}
	}
	return a
}

// zip compresses what is sent for seconds only: fast, with a writer that has
// been used before, since making one costs more than using it.
func (s *Server) zip(body []byte) []byte {
	var out bytes.Buffer
	w, ok := s.zippers.Get().(*gzip.Writer)
	if ok {
		w.Reset(&out)
	} else {
		w = newZipper(&out, gzip.BestSpeed)
	}
	defer s.zippers.Put(w)
	zipInto(w, body)
	return out.Bytes()
}

func newZipper(out *bytes.Buffer, level int) *gzip.Writer {
	w, err := gzip.NewWriterLevel(out, level)
	if err != nil {
		panic(err) // the level is a constant of this package
	}
	return w
}

// zipInto writes into memory, which never fails.
func zipInto(w *gzip.Writer, body []byte) {
	_, _ = w.Write(body)
	_ = w.Close()
}

// zipSmall compresses as well as can be: what is made once and kept for a year.
func zipSmall(body []byte) []byte {
	var out bytes.Buffer
	zipInto(newZipper(&out, gzip.BestCompression), body)
	return out.Bytes()
}

// send writes the answer in the form that the visitor takes.
func (a *answer) send(w http.ResponseWriter, r *http.Request) int {
	h := w.Header()
	if a.public {
		allowReading(h)
	}
	if a.link != "" {
		h.Set("Link", a.link)
	}
	if a.warning != "" {
		h.Set("X-Data-Age", a.warning)
	}
	h.Set("Content-Type", a.contentType)
	switch {
	case a.maxAge > 0:
		h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(a.maxAge.Seconds()+0.999)))
	default:
		h.Set("Cache-Control", "no-store")
	}
	body, etag := a.body, a.etag
	if a.zipped != nil {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Get("Accept-Encoding")) {
			body, etag = a.zipped, etag+"-gz"
			h.Set("Content-Encoding", "gzip")
		}
	}
	if a.status == http.StatusOK {
		h.Set("ETag", `"`+etag+`"`)
		if matches(r.Header.Get("If-None-Match"), a.etag) {
			h.Del("Content-Type")
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return http.StatusNotModified
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the visitor may have gone
	}
	return a.status
}

// matches says whether a list of ETags names this one, in either encoding.
func matches(list, etag string) bool {
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		tag = strings.TrimSuffix(strings.Trim(tag, `"`), "-gz")
		if tag == etag || tag == "*" {
			return true
		}
	}
	return false
}

// takesGzip reads Accept-Encoding.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
			continue
		}
		weight, hasQ := strings.CutPrefix(strings.TrimSpace(q), "q=")
		if v, err := strconv.ParseFloat(weight, 64); hasQ && err == nil && v == 0 {
			return false
		}
		return true
	}
	return false
}

// allowReading lets pages of other hosts read an answer. Nothing here is
// private, and no cookie is ever looked at.
func allowReading(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "ETag, Link, Retry-After, X-Data-Age")
}

// contentPolicy: everything from here, nothing inline, in nobody's frame.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func secure(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()")
}
