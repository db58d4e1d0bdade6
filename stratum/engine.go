package stratum

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/panjf2000/gnet/v2"
)

// engine is what gnet calls. OnOpen, OnTraffic and OnClose run on the event loop
// of the connection; OnClose may run within a write or a close of our own.
type engine struct {
	gnet.BuiltinEventEngine
	srv *Server
}

// OnOpen puts the session onto its loop.
func (e *engine) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	s := c.Context().(*session)
	l := e.srv.loopOf(c.EventLoop())
	defer l.survive(s)
	s.conn = c
	l.add(s)
	s.open()
	return nil, gnet.None
}

// OnTraffic hands over what has been read. Everything is taken every time, so gnet
// keeps nothing; the bytes are the loop's and die when this returns.
func (e *engine) OnTraffic(c gnet.Conn) gnet.Action {
	s, ok := c.Context().(*session)
	if !ok {
		return gnet.Close
	}
	data, err := c.Peek(-1)
	if err != nil || len(data) == 0 {
		return gnet.None
	}
	_, _ = c.Discard(len(data))
	s.loop.traffic(s, data)
	return gnet.None
}

// OnClose ends the session. It must not return Shutdown, which would end the loop.
func (e *engine) OnClose(c gnet.Conn, err error) gnet.Action {
	if s, ok := c.Context().(*session); ok && s.loop != nil {
		s.gone(err)
	}
	return gnet.None
}

// loopOf returns the loop of one of gnet's event loops, which is made at its
// first connection.
func (srv *Server) loopOf(el gnet.EventLoop) *loop {
	srv.loopMu.RLock()
	l := srv.byEventLoop[el]
	srv.loopMu.RUnlock()
	if l != nil {
		return l
	}
	srv.loopMu.Lock()
	defer srv.loopMu.Unlock()
	if l = srv.byEventLoop[el]; l == nil {
		l = srv.addLoop(execute(el))
		srv.byEventLoop[el] = l
	}
	return l
}

// addLoop makes a loop and starts its keeper. Called with loopMu held.
func (srv *Server) addLoop(run func(func()) error) *loop {
	l := newLoop(srv, len(srv.loops), run)
	srv.loops = append(srv.loops[:len(srv.loops):len(srv.loops)], l) // others hold the old slice
	srv.keepers.Go(func() { l.keep(srv.stopKeepers) })
	return l
}

// runnable lets an event loop run a function. A fault in it is survived where it
// concerns one session; elsewhere it is ours and must be seen.
type runnable func()

func (r runnable) Run(context.Context) error {
	r()
	return nil
}

// engineLog passes what gnet has to say on. It says little that is not also an
// error of ours, so it is kept low.
type engineLog struct{ log *slog.Logger }

func (e engineLog) Debugf(string, ...any) {}
func (e engineLog) Infof(string, ...any)  {}

func (e engineLog) Warnf(format string, args ...any) {
	e.log.Debug("event loop warns", slog.String("text", fmt.Sprintf(format, args...)))
}

func (e engineLog) Errorf(format string, args ...any) {
	e.log.Error("event loop fails", slog.String("text", fmt.Sprintf(format, args...)))
}

func (e engineLog) Fatalf(format string, args ...any) { e.Errorf(format, args...) }
