package zmq

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"purepool/pool/chain"
)

// ErrProtocol is what every error is that the peer's bytes are to blame for.
var ErrProtocol = errors.New("not a ZMTP 3 publisher of blocks")

// Bounds of what a peer may send. A daemon's frames have 9, 32 and 4 bytes; its
// handshake about 30.
const (
	maxFrame   = 4096 // bytes
	maxFrames  = 8    // of one message
	maxContext = 16   // of a PING
)

// Bits of a frame's first byte.
const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
)

const (
	topic        = "hashblock"
	greetingSize = 64
)

// greeting is what both sides begin with: signature, version 3.0, mechanism NULL,
// the client's side.
func greeting() []byte {
	g := make([]byte, greetingSize)
	g[0], g[9] = 0xff, 0x7f
	g[10] = 3
	copy(g[12:32], "NULL")
	return g
}

// checkGreeting reads the peer's.
func checkGreeting(g []byte) error {
	switch {
	case g[0] != 0xff || g[9]&1 == 0:
		return fmt.Errorf("%w: it begins with %x", ErrProtocol, g[:10])
	case g[10] < 3:
		return fmt.Errorf("%w: it speaks version %d", ErrProtocol, g[10])
	case string(bytes.TrimRight(g[12:32], "\x00")) != "NULL":
		return fmt.Errorf("%w: it wants the security mechanism %.20q", ErrProtocol, g[12:32])
	}
	return nil
}

// frame is one frame as it is read.
type frame struct {
	body    []byte // good until the next read
	more    bool
	command bool
}

// reader reads frames.
type reader struct {
	in  *bufio.Reader
	buf [maxFrame]byte
}

func newReader(r io.Reader) *reader { return &reader{in: bufio.NewReaderSize(r, 512)} }

func (r *reader) frame() (f frame, err error) {
	flags, err := r.in.ReadByte()
	if err != nil {
		return f, err
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&flagCommand != 0 && flags&flagMore != 0 {
		return f, fmt.Errorf("%w: a frame begins with %02x", ErrProtocol, flags)
	}
	size := make([]byte, 1, 8)
	if flags&flagLong != 0 {
		size = size[:8]
	}
	if _, err := io.ReadFull(r.in, size); err != nil {
		return f, unfinished(err)
	}
	n := uint64(size[0])
	if len(size) == 8 {
		n = binary.BigEndian.Uint64(size)
	}
	if n > maxFrame {
		return f, fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, n)
	}
	f = frame{body: r.buf[:n], more: flags&flagMore != 0, command: flags&flagCommand != 0}
	if _, err := io.ReadFull(r.in, f.body); err != nil {
		return f, unfinished(err)
	}
	return f, nil
}

func unfinished(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// message is one message about a block.
type message struct {
	hash   chain.Hash
	number uint32
}

// next returns the next message about a block. ok is false for whatever else has
// come; reply, if not nil, is to be sent back.
func (r *reader) next() (m message, ok bool, reply []byte, err error) {
	var parts [maxFrames][]byte
	for n := 0; ; n++ {
		f, err := r.frame()
		switch {
		case err != nil:
			if n > 0 {
				err = unfinished(err)
			}
			return m, false, nil, err
		case f.command && n > 0:
			return m, false, nil, fmt.Errorf("%w: a command within a message", ErrProtocol)
		case f.command:
			return m, false, pong(f.body), nil
		case n == maxFrames:
			return m, false, nil, fmt.Errorf("%w: a message of more than %d frames", ErrProtocol, maxFrames)
		}
		parts[n] = bytes.Clone(f.body)
		if !f.more {
			break
		}
	}
	if string(parts[0]) != topic {
		return m, false, nil, nil // a longer topic that begins like ours
	}
	if len(parts[1]) != len(m.hash) || len(parts[2]) != 4 || parts[3] != nil {
		return m, false, nil, fmt.Errorf("%w: a message about a block with frames of %d and %d bytes", ErrProtocol, len(parts[1]), len(parts[2]))
	}
	m.hash = chain.HashFromDisplay([32]byte(parts[1]))
	m.number = binary.LittleEndian.Uint32(parts[2])
	return m, true, nil, nil
}

// pong answers a PING (ZMTP 3.1); nil where the command wants no answer.
func pong(command []byte) []byte {
	const ping, ttl = "\x04PING", 2
	rest, ok := bytes.CutPrefix(command, []byte(ping))
	if !ok || len(rest) < ttl {
		return nil
	}
	rest = rest[ttl:]
	return appendFrame(nil, flagCommand, append([]byte("\x04PONG"), rest[:min(len(rest), maxContext)]...))
}

// ready is the command that ends the handshake of mechanism NULL.
func ready() []byte {
	body := appendProperty([]byte("\x05READY"), "Socket-Type", "SUB")
	return appendFrame(nil, flagCommand, body)
}

func appendProperty(b []byte, name, value string) []byte {
	b = append(b, byte(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// checkReady reads the peer's READY.
func checkReady(f frame) error {
	if !f.command {
		return fmt.Errorf("%w: a message before the handshake is over", ErrProtocol)
	}
	if reason, ok := bytes.CutPrefix(f.body, []byte("\x05ERROR")); ok {
		return fmt.Errorf("%w: it refuses: %.100q", ErrProtocol, reason)
	}
	rest, ok := bytes.CutPrefix(f.body, []byte("\x05READY"))
	if !ok {
		return fmt.Errorf("%w: a handshake with %.20q", ErrProtocol, f.body)
	}
	for len(rest) > 0 {
		var name, value []byte
		if name, rest, ok = cut(rest, 1); ok {
			value, rest, ok = cut(rest, 4)
		}
		if !ok {
			return fmt.Errorf("%w: a handshake that ends too soon", ErrProtocol)
		}
		if strings.EqualFold(string(name), "Socket-Type") && string(value) != "PUB" && string(value) != "XPUB" {
			return fmt.Errorf("%w: it is a socket of type %.20q", ErrProtocol, value)
		}
	}
	return nil
}

// cut takes a text off that has its length before it, of width bytes.
func cut(b []byte, width int) (text, rest []byte, ok bool) {
	if len(b) < width {
		return nil, nil, false
	}
	n := uint64(b[0])
	if width == 4 {
		n = uint64(binary.BigEndian.Uint32(b))
	}
	b = b[width:]
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

// subscription asks for the topic, in the form that every version understands.
func subscription() []byte { return appendFrame(nil, 0, append([]byte{1}, topic...)) }

// appendFrame appends a short frame.
func appendFrame(b []byte, flags byte, body []byte) []byte {
	b = append(b, flags, byte(len(body)))
	return append(b, body...)
}
