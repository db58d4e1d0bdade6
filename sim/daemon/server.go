package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxBody is bitcoind's limit of a request's body, in bytes.
const maxBody = 0x02000000

// port is an HTTP server that can be shut and opened again on the same address.
type port struct {
	handler http.Handler

	mu       sync.Mutex
	address  string
	listener net.Listener // bound, not yet served
	server   *http.Server // nil while shut
	serving  chan struct{}
	conns    *sync.WaitGroup
	ended    bool
}

// bind takes the address, so that it is known before anything is served.
func (p *port) bind() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listen()
}

// listen needs the lock.
func (p *port) listen() error {
	if p.listener != nil {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", p.address)
	if err != nil {
		return fmt.Errorf("simulated daemon: %w", err)
	}
	p.listener, p.address = l, l.Addr().String()
	return nil
}

func (p *port) addr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.address
}

// open serves the port, if it is not served already and has not ended.
func (p *port) open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.server != nil || p.ended {
		return nil
	}
	if err := p.listen(); err != nil {
		return err
	}
	var conns sync.WaitGroup
	server := &http.Server{
		Handler:           p.handler,
		ReadHeaderTimeout: 30 * time.Second,
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
	}
	serving := make(chan struct{})
	listener := p.listener
	go func() {
		defer close(serving)
		_ = server.Serve(listener) // ends with ErrServerClosed, by shut
	}()
	p.listener, p.server, p.serving, p.conns = nil, server, serving, &conns
	return nil
}

// shut closes the port and its connections, and waits for their handlers.
func (p *port) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close()
}

// close needs the lock.
func (p *port) close() {
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	if p.server == nil {
		return
	}
	_ = p.server.Close()
	<-p.serving
	p.conns.Wait()
	p.server = nil
}

// end shuts the port for good.
func (p *port) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.close()
}

// rpcHandler answers JSON-RPC over HTTP. On the admin address no fault acts, and
// the simulation can be steered.
type rpcHandler struct {
	d     *Daemon
	admin bool
}

// exchange is the memory of one request and its answer, used again.
type exchange struct {
	in, out []byte
	calls   []call
}

// ServeHTTP answers a call or a batch. Safe for concurrent use.
func (h *rpcHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		http.Error(w, "JSONRPC server handles only POST requests", http.StatusMethodNotAllowed)
		return
	}
	if !h.d.authorized(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="jsonrpc"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	x := h.d.exchanges.Get().(*exchange)
	defer h.d.exchanges.Put(x)
	if err := x.read(w, r); err != nil {
		status := http.StatusBadRequest
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		w.WriteHeader(status)
		return
	}
	calls, batch, err := parseRequest(x.in, x.calls)
	if err != nil {
		x.out = append(appendError(x.out[:0], &rpcError{codeParse, "Parse error"}, nil), '\n')
		x.write(w, http.StatusInternalServerError)
		return
	}
	x.calls = calls
	f := h.d.faultSet()
	if h.admin {
		f = &faults{admin: true}
	}
	h.d.answer(w, r, x, batch, f)
}

// authorized compares digests, so that the time it takes tells nothing.
func (d *Daemon) authorized(r *http.Request) bool {
	user, password, ok := r.BasicAuth()
	got := sha256.Sum256([]byte(user + ":" + password))
	return ok && subtle.ConstantTimeCompare(got[:], d.secret[:]) == 1
}

func (x *exchange) read(w http.ResponseWriter, r *http.Request) error {
	body := http.MaxBytesReader(w, r.Body, maxBody)
	x.in = x.in[:0]
	if n := int(min(max(r.ContentLength, 0), maxBody)); cap(x.in) <= n {
		x.in = make([]byte, 0, n+512)
	}
	for {
		if len(x.in) == cap(x.in) {
			x.in = append(x.in, 0)[:len(x.in)]
		}
		n, err := body.Read(x.in[len(x.in):cap(x.in)])
		x.in = x.in[:len(x.in)+n]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// answer carries the calls out, under the faults of the moment.
func (d *Daemon) answer(w http.ResponseWriter, r *http.Request, x *exchange, batch bool, f *faults) {
	struck := f.strikesAny(x.calls)
	if struck != nil && struck.Kind == FaultSlow {
		pause(r, struck.wait())
		struck = f.strikesAny(x.calls, FaultCut, FaultGarbled)
	}
	if struck != nil && struck.Kind == FaultHang {
		select {
		case <-r.Context().Done():
		case <-f.over:
		}
		panic(http.ErrAbortHandler)
	}
	status := http.StatusOK
	x.out = x.out[:0]
	if batch {
		x.out = append(x.out, '[')
	}
	for i := range x.calls {
		if i > 0 {
			x.out = append(x.out, ',')
		}
		var failed *rpcError
		x.out, failed = d.reply(x.out, &x.calls[i], f)
		if failed != nil && !batch {
			status = failed.status()
		}
	}
	if batch {
		x.out = append(x.out, ']')
	}
	x.out = append(x.out, '\n')
	switch {
	case struck == nil:
		x.write(w, status)
	case struck.Kind == FaultCut:
		x.cut(w)
	default:
		x.out = append(x.out[:len(x.out)/2], "\x00<garbled>"...)
		x.write(w, http.StatusOK)
	}
}

// strikesAny is strikes for the calls of a request; without kinds, all that
// concern whole requests.
func (s *faults) strikesAny(calls []call, kinds ...FaultKind) *Fault {
	if len(s.list) == 0 {
		return nil
	}
	if len(kinds) == 0 {
		kinds = []FaultKind{FaultSlow, FaultHang, FaultCut, FaultGarbled}
	}
	for i := range calls {
		if f := s.strikes(&calls[i], kinds...); f != nil {
			return f
		}
	}
	return nil
}

func pause(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

func (x *exchange) write(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(x.out)))
	w.WriteHeader(status)
	_, _ = w.Write(x.out) // the client has gone: nobody is left to tell
}

// cut sends half of the answer and closes the connection.
func (x *exchange) cut(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(x.out)))
	_, _ = w.Write(x.out[:len(x.out)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// reply appends the answer to one call, and tells of its error.
func (d *Daemon) reply(dst []byte, c *call, f *faults) ([]byte, *rpcError) {
	failed := c.invalid
	if failed == nil && len(f.list) > 0 {
		if e := f.strikes(c, FaultError); e != nil {
			failed = e.rpcError()
		}
	}
	start := len(dst)
	if failed == nil {
		dst = append(dst, `{"result":`...)
		if dst, failed = d.do(dst, c, f); failed == nil {
			dst = append(dst, `,"error":null,"id":`...)
			return appendID(dst, c.id), nil
		}
	}
	return appendError(dst[:start], failed, c.id), failed
}

// appendError appends the answer to a call that failed.
func appendError(dst []byte, failed *rpcError, id []byte) []byte {
	dst = appendInt(dst, `{"result":null,"error":{"code":`, int64(failed.code))
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, failed.message)
	dst = append(dst, `},"id":`...)
	return appendID(dst, id)
}

func appendID(dst, id []byte) []byte {
	if id == nil {
		dst = append(dst, "null"...)
	}
	return append(append(dst, id...), '}')
}
