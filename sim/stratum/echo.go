package stratum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"

	"github.com/panjf2000/gnet/v2"
)

// Echo is the limit that a pool's submits are measured beside: the least that a
// line server on gnet can do. It finds the lines and answers each with a constant
// of an answer's length; it looks at nothing, checks nothing and keeps nothing.
type Echo struct {
	listener net.Listener
	loops    *gnet.Client
}

// NewEcho opens its port, on the same kind of listener as the pool's.
func NewEcho(ctx context.Context, address string) (*Echo, error) {
	loops, err := gnet.NewClient(&echoEngine{}, gnet.WithNumEventLoop(runtime.GOMAXPROCS(0)),
		gnet.WithTCPNoDelay(gnet.TCPNoDelay), gnet.WithLogger(silent{}))
	if err != nil {
		return nil, fmt.Errorf("starting event loops: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Echo{listener, loops}, nil
}

// Addr returns where it listens.
func (e *Echo) Addr() string { return e.listener.Addr().String() }

// Run serves until ctx ends.
func (e *Echo) Run(ctx context.Context) error {
	if err := e.loops.Start(); err != nil {
		return fmt.Errorf("starting event loops: %w", err)
	}
	var accepting sync.WaitGroup
	var failed error
	accepting.Go(func() {
		for {
			conn, err := e.listener.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					failed = err
				}
				return
			}
			if _, err := e.loops.Enroll(conn); err != nil {
				failed = err
				return
			}
		}
	})
	<-ctx.Done()
	_ = e.listener.Close()
	accepting.Wait()
	return errors.Join(failed, e.loops.Stop())
}

type echoEngine struct{ gnet.BuiltinEventEngine }

const (
	// echoJob is as long as the number of a job that binds its shares' targets, so
	// that submits are of one length.
	echoJob        = "10000000000000" + "00000000"
	echoSubscribed = `{"id":1,"result":[[],"0000000000000001",4],"error":null}` + "\n"
	echoAuthorized = `{"id":2,"result":true,"error":null}` + "\n" +
		`{"id":null,"method":"mining.set_difficulty","params":[1e-12]}` + "\n" +
		`{"id":null,"method":"mining.notify","params":["` + echoJob + `","0000000000000000000000000000000000000000000000000000000000000000","00","00",[],"20000000","1d00ffff","60000000",true]}` + "\n"
	echoTaken = `,"result":true,"error":null}` + "\n"
)

// OnTraffic answers whole lines, all of one read with one write.
func (*echoEngine) OnTraffic(c gnet.Conn) gnet.Action {
	data, err := c.Peek(-1)
	if err != nil {
		return gnet.None
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	var out []byte
	for rest := data[:end]; len(rest) > 0; {
		at := bytes.IndexByte(rest, '\n')
		line := rest[:at]
		rest = rest[at+1:]
		switch {
		case !bytes.HasPrefix(line, []byte(idHead)):
		case bytes.Contains(line, []byte("mining.submit")):
			number := line[len(idHead):]
			out = append(out, idHead...)
			out = append(out, number[:max(bytes.IndexByte(number, ','), 0)]...)
			out = append(out, echoTaken...)
		case bytes.Contains(line, []byte("mining.subscribe")):
			out = append(out, echoSubscribed...)
		default:
			out = append(out, echoAuthorized...)
		}
	}
	_, _ = c.Discard(end)
	_, _ = c.Write(out)
	return gnet.None
}
