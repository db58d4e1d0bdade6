package load

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
)

// client is one of the connections that are open at once.
type client struct {
	fd      int
	began   time.Time
	request []byte
	sent    int
	answer  []byte // its first bytes
}

// keep is how much of an answer is kept, in bytes. An answer of the protocol has
// less than half of it.
const keep = 2048

// loop is the event loop of some clients. It owns all of them and needs no locks.
type loop struct {
	*run
	epoll  int
	server syscall.SockaddrInet4
	result *Result
	event  syscall.EpollEvent // handed to the kernel; a local one would be allocated
	spill  [keep]byte
	alive  int
}

func (r *run) loop(clients int) (*Result, error) {
	// The thread sleeps in the kernel: let nobody else be scheduled on it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll: %w", err)
	}
	defer func() { _ = syscall.Close(epoll) }()
	l := &loop{run: r, epoll: epoll, result: new(Result)}
	l.server = syscall.SockaddrInet4{Port: int(r.Addr.Port()), Addr: r.Addr.Addr().Unmap().As4()}
	all := make([]client, clients)
	for i := range all {
		all[i] = client{fd: -1, answer: make([]byte, 0, keep)}
		l.start(all, i)
	}
	events := make([]syscall.EpollEvent, 256)
	lastLook := time.Now()
	for l.alive > 0 {
		n, err := syscall.EpollWait(epoll, events, 100)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return nil, fmt.Errorf("load: epoll: %w", err)
		}
		for i := range max(n, 0) {
			l.proceed(all, int(events[i].Fd), events[i].Events)
		}
		if now := time.Now(); now.Sub(lastLook) > 100*time.Millisecond {
			lastLook = now
			l.timeOut(all, now)
		}
	}
	return l.result, nil
}

var errTimedOut = errors.New("timed out")

func (l *loop) timeOut(all []client, now time.Time) {
	for i := range all {
		if all[i].fd >= 0 && now.Sub(all[i].began) > l.Timeout {
			l.fail(all, i, errTimedOut)
		}
	}
}

// start sends the client's next request, if there is one. Requests that fail at
// once are counted in a row here, not by recursion.
func (l *loop) start(all []client, i int) {
	c := &all[i]
	for {
		n, ok := l.take()
		if !ok {
			return
		}
		c.request = l.Source(c.request[:0], n)
		c.answer, c.sent, c.began = c.answer[:0], 0, time.Now()
		err := l.connect(c, i)
		if err == nil {
			l.alive++
			return
		}
		l.result.fail(err)
		if c.fd >= 0 {
			_ = syscall.Close(c.fd)
			c.fd = -1
		}
	}
}

func (l *loop) connect(c *client, i int) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		c.fd = -1
		return fmt.Errorf("socket: %w", err)
	}
	c.fd = fd
	// Over loopback the handshake is done when connect returns.
	err = syscall.Connect(fd, &l.server)
	if err == nil {
		err = l.send(c)
	}
	if err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return err
	}
	// Edge-triggered, so that it need not be changed when all is sent.
	const edge = 1 << 31
	l.event = syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | edge, Fd: int32(i),
	}
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &l.event)
}

// send writes what the socket takes.
func (l *loop) send(c *client) error {
	for c.sent < len(c.request) {
		n, err := syscall.Write(c.fd, c.request[c.sent:])
		if errors.Is(err, syscall.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		c.sent += n
	}
	return nil
}

// proceed does what a client's socket is ready for.
func (l *loop) proceed(all []client, i int, ready uint32) {
	c := &all[i]
	if c.fd < 0 {
		return
	}
	if ready&syscall.EPOLLOUT != 0 && c.sent < len(c.request) {
		if err := l.send(c); err != nil {
			l.fail(all, i, err)
			return
		}
	}
	if ready&(syscall.EPOLLIN|syscall.EPOLLRDHUP|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
		return
	}
	for {
		n, err := syscall.Read(c.fd, l.spill[:])
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return
		case err != nil:
			l.fail(all, i, fmt.Errorf("reading: %w", err))
			return
		case n == 0 && len(c.answer) == 0:
			l.fail(all, i, errNoAnswer)
			return
		case n == 0:
			l.result.judge(c.answer, l.OK, time.Since(c.began))
			l.finish(all, i)
			return
		}
		c.answer = append(c.answer, l.spill[:min(n, keep-len(c.answer))]...)
	}
}

var errNoAnswer = errors.New("closed without an answer")

func (l *loop) fail(all []client, i int, err error) {
	l.result.fail(err)
	l.finish(all, i)
}

// finish closes the client's connection, which takes it out of the epoll, and
// starts its next.
func (l *loop) finish(all []client, i int) {
	_ = syscall.Close(all[i].fd)
	all[i].fd = -1
	l.alive--
	l.start(all, i)
}
