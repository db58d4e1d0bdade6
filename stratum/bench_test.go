package stratum_test

import (
	"bytes"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"purepool/sim/stratum"
	served "purepool/stratum"
)

// echo is the least that a line server on gnet can do: find the lines, answer each
// with a constant of an answer's length.
type echo struct {
	gnet.BuiltinEventEngine
	ready chan struct{}
}

func (e *echo) OnBoot(gnet.Engine) gnet.Action { close(e.ready); return gnet.None }

func (e *echo) OnTraffic(c gnet.Conn) gnet.Action {
	data, _ := c.Peek(-1)
	end := bytes.LastIndexByte(data, '\n') + 1
	var out []byte
	for rest := data[:end]; len(rest) > 0; {
		at := bytes.IndexByte(rest, '\n')
		id := rest[6 : 6+bytes.IndexByte(rest[6:], ',')] // {"id":N,…
		if bytes.Contains(rest[:at], []byte("mining.submit")) {
			out = append(append(append(out, `{"id":`...), id...), `,"result":true,"error":null}`+"\n"...)
		} else if bytes.Contains(rest[:at], []byte("mining.subscribe")) {
			out = append(out, `{"id":1,"result":[[],"0000000000000001",4],"error":null}`+"\n"...)
		} else {
			out = append(out, `{"id":2,"result":true,"error":null}`+"\n"+`{"id":null,"method":"mining.set_difficulty","params":[1e-12]}`+"\n"+
				`{"id":null,"method":"mining.notify","params":["10","0000000000000000000000000000000000000000000000000000000000000000","00","00",[],"20000000","1d00ffff","60000000",true]}`+"\n"...)
		}
		rest = rest[at+1:]
	}
	_, _ = c.Discard(end)
	_, _ = c.Write(out)
	return gnet.None
}

// startEcho serves the echo behind the same kind of listener.
func startEcho(b *testing.B) string {
	e := &echo{ready: make(chan struct{})}
	cli, err := gnet.NewClient(e, gnet.WithNumEventLoop(runtime.GOMAXPROCS(0)), gnet.WithTCPNoDelay(gnet.TCPNoDelay))
	if err != nil {
		b.Fatal(err)
	}
	if err := cli.Start(); err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = cli.Enroll(conn)
		}
	})
	b.Cleanup(func() {
		_ = ln.Close()
		accepting.Wait()
		_ = cli.Stop()
	})
	return ln.Addr().String()
}

// BenchmarkSubmit puts 1,000 connections with one and eight submits under way on
// the server and on a bare line echo, turn by turn, and reports both rates. The
// load generator runs in the same process.
func BenchmarkSubmit(b *testing.B) {
	for _, pipeline := range []int{1, 8} {
		b.Run(map[int]string{1: "one-at-a-time", 8: "eight-in-flight"}[pipeline], func(b *testing.B) {
			run := func(at string) float64 {
				l, err := stratum.NewLoad(stratum.LoadOptions{
					Pool: at, Worker: address + ".l", Password: "d=1e-12", Connections: 1000, Pipeline: pipeline, Duration: 2 * time.Second,
				})
				if err != nil {
					b.Fatal(err)
				}
				r, err := l.Run(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				if r.Lost > 0 {
					b.Errorf("%d connections lost", r.Lost)
				}
				return r.PerSecond
			}
			p := open(b, nil)
			p.sink.forget = true
			bare := startEcho(b)
			var pool, limit float64
			for b.Loop() {
				limit += run(bare)
				pool += run(p.Addr("t").String())
			}
			b.ReportMetric(pool/float64(b.N), "shares/s")
			b.ReportMetric(limit/float64(b.N), "echo/s")
			b.ReportMetric(100*pool/limit, "%-of-echo")
		})
	}
}

// BenchmarkBroadcast sends new jobs to 4,000 connections, beside a bare loop that
// writes the same bytes to as many.
func BenchmarkBroadcast(b *testing.B) {
	const n = 4000
	p := open(b, nil)
	l, err := stratum.NewLoad(stratum.LoadOptions{
		Pool: p.Addr("t").String(), Worker: address + ".l", Connections: n, Idle: true, Broadcasts: 20, NewJob: func() { p.jobs.next(true, nil) },
	})
	if err != nil {
		b.Fatal(err)
	}
	var ours, bare float64
	for b.Loop() {
		r, err := l.Run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		ours += r.Broadcast.P99
		bare += bareBroadcast(b, n, 20)
	}
	b.ReportMetric(ours/float64(b.N), "p99-ms")
	b.ReportMetric(bare/float64(b.N), "bare-p99-ms")
	b.ReportMetric(ours/bare, "times-bare")
}

// bareBroadcast accepts connections and, when told, writes to all of them from as
// many goroutines as there are processors.
func bareBroadcast(b *testing.B, n, times int) float64 {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	var conns []net.Conn
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for range n {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(`{"id":1,"result":[[],"0000000000000001",4],"error":null}` + "\n" +
				`{"id":null,"method":"mining.set_difficulty","params":[1]}` + "\n" + bareNotify))
			conns = append(conns, conn)
		}
	})
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	l, err := stratum.NewLoad(stratum.LoadOptions{
		Pool: ln.Addr().String(), Worker: "w", Connections: n, Idle: true, Broadcasts: times,
		NewJob: func() {
			procs := runtime.GOMAXPROCS(0)
			for i := range procs {
				go func() {
					for k := i; k < len(conns); k += procs {
						_, _ = conns[k].Write([]byte(bareNotify))
					}
				}()
			}
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	r, err := l.Run(b.Context())
	accepting.Wait()
	if err != nil {
		b.Fatal(err)
	}
	return r.Broadcast.P99
}

const bareNotify = `{"id":null,"method":"mining.notify","params":["10","0000000000000000000000000000000000000000000000000000000000000000","6120636f696e6261736520626567696e7320686572652c207769746820736f6d652073697874792062797465732061","20616e6420656e647320686572652c206166746572207468652070757473206f6620657665727962",["` +
	`5f5e10005f5e10005f5e10005f5e10005f5e10005f5e10005f5e10005f5e1000","5f5e10005f5e10005f5e10005f5e10005f5e10005f5e10005f5e10005f5e1000"],"20000000","1d00ffff","60000000",true]}` + "\n"

// BenchmarkHonestBesideHostile reports the p99 of honest submits on a calm server
// and on one that hostile clients of every kind work on, from a process of their
// own.
func BenchmarkHonestBesideHostile(b *testing.B) {
	p := open(b, func(c *served.Config) {
		c.Limits.JunkPerIP, c.Limits.JudgedShares = 1<<30, 1<<30
		c.Limits.LineTimeout = time.Second
	})
	p.sink.forget = true
	honest := func() float64 {
		l, err := stratum.NewLoad(stratum.LoadOptions{
			Pool: p.Addr("t").String(), Worker: address + ".l", Password: "d=1e-12", Connections: 20, Duration: 2 * time.Second,
		})
		if err != nil {
			b.Fatal(err)
		}
		r, err := l.Run(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		return r.Submit.P99
	}
	var calm, beside float64
	for b.Loop() {
		calm += honest()
		in, out := child(b, "hostile", p.Addr("t").String())
		said(b, out)
		beside += honest()
		_ = in.Close()
	}
	b.ReportMetric(calm/float64(b.N), "calm-p99-ms")
	b.ReportMetric(beside/float64(b.N), "beside-p99-ms")
}
