package queue

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"
)

// DeadLetter is what could not be dealt with after bounded tries, kept until a
// person decides. It holds either one share or the bytes of a message that is
// no envelope.
type DeadLetter struct {
	ID       uuid.UUID // version 7; made by Add when zero
	At       time.Time // when it was set aside, UTC, microseconds; made by Add when zero
	Network  string
	Reason   string // cut to 4 kB
	Attempts int
	Share    *Share // nil when Raw is set
	Raw      []byte // the message's payload, at most MaxEnvelopeBytes of it
}

const (
	maxReason = 4 << 10
	// maxDeadLetterBytes bounds all letters of a broker. At the bound new ones are
	// refused, and what they are about keeps coming back.
	maxDeadLetterBytes = 1 << 30
	deadLetterTimeout  = 5 * time.Second
	letterVersion      = 1
)

// wireLetter is a dead letter as it is stored: CBOR, as the envelopes are. The
// share is an envelope of one.
type wireLetter struct {
	Version  uint64   `cbor:"0,keyasint"`
	ID       [16]byte `cbor:"1,keyasint"`
	At       int64    `cbor:"2,keyasint"` // microseconds since the epoch
	Network  string   `cbor:"3,keyasint"`
	Reason   string   `cbor:"4,keyasint"`
	Attempts int      `cbor:"5,keyasint"`
	Share    []byte   `cbor:"6,keyasint,omitempty"`
	Raw      []byte   `cbor:"7,keyasint,omitempty"`
}

func (c *codec) encodeLetter(l *DeadLetter) ([]byte, error) {
	reason := strings.ToValidUTF8(l.Reason, "�")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	w := wireLetter{
		Version: letterVersion, ID: l.ID, At: l.At.UnixMicro(), Network: l.Network,
		Reason: reason, Attempts: l.Attempts, Raw: l.Raw,
	}
	if l.Share != nil {
		data, err := c.encodeEnvelope(*l.Share)
		if err != nil {
			return nil, err
		}
		w.Share = data
	}
	return cbor.Marshal(&w)
}

func (c *codec) decodeLetter(data []byte) (DeadLetter, error) {
	var w wireLetter
	if err := c.dec.Unmarshal(data, &w); err != nil {
		return DeadLetter{}, fmt.Errorf("decode dead letter: %w", err)
	}
	if w.Version != letterVersion {
		return DeadLetter{}, fmt.Errorf("decode dead letter: version %d, known is %d", w.Version, letterVersion)
	}
	l := DeadLetter{
		ID: w.ID, At: time.UnixMicro(w.At).UTC(), Network: w.Network,
		Reason: w.Reason, Attempts: w.Attempts, Raw: w.Raw,
	}
	if len(w.Share) > 0 {
		shares, err := c.decodeEnvelope(w.Share)
		if err != nil {
			return DeadLetter{}, fmt.Errorf("decode dead letter: %w", err)
		}
		if len(shares) != 1 {
			return DeadLetter{}, fmt.Errorf("decode dead letter: %w: %d shares", ErrEnvelope, len(shares))
		}
		l.Share = &shares[0]
	}
	return l, nil
}

// DeadLetters is the dead-letter store of a broker. It is the backend's: a
// frontend has no permission for it.
//
// On RabbitMQ, where nothing can be read without taking it, letters are taken and given
// back: while one caller looks, another one sees only the rest.
type DeadLetters struct {
	b   *Broker
	box letterBox
}

// DeadLetters returns the broker's dead-letter store.
func (b *Broker) DeadLetters() *DeadLetters { return &DeadLetters{b: b, box: b.driver.letters()} }

// Add sets a letter aside; nil means that it is durable, so that what it is
// about may be acknowledged.
func (d *DeadLetters) Add(ctx context.Context, l DeadLetter) error {
	if err := checkNetworks(l.Network); err != nil {
		return fmt.Errorf("add dead letter: %w", err)
	}
	if l.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("add dead letter: %w", err)
		}
		l.ID = id
	}
	if l.At.IsZero() {
		l.At = time.Now()
	}
	data, err := d.b.codec.encodeLetter(&l)
	if err != nil {
		return fmt.Errorf("add dead letter: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadLetterTimeout)
	defer cancel()
	if err := d.box.put(ctx, l.Network, l.ID, data); err != nil {
		return fmt.Errorf("add dead letter: %w", err)
	}
	d.b.metrics.deadLetters.WithLabelValues(l.Network).Inc()
	return nil
}

// List returns up to limit letters, oldest first (limit 0: all), of one network,
// or of all when network is empty. Nothing is consumed.
func (d *DeadLetters) List(ctx context.Context, network string, limit int) ([]DeadLetter, error) {
	var out []DeadLetter
	err := d.visit(ctx, network, uuid.Nil, func(l DeadLetter) (verdict, error) {
		out = append(out, l)
		return keep, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	// RabbitMQ does not keep the order of what is given back.
	slices.SortFunc(out, func(a, b DeadLetter) int {
		return cmp.Or(a.At.Compare(b.At), bytes.Compare(a.ID[:], b.ID[:]))
	})
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

// Replay publishes the letter again and then removes it. Should the process die
// in between, both remain, and the ledger drops the duplicate. ErrNotFound when there is none.
func (d *DeadLetters) Replay(ctx context.Context, id uuid.UUID) error {
	err := d.one(ctx, id, func(l DeadLetter) error { return d.publish(ctx, &l) })
	if err != nil {
		return fmt.Errorf("replay dead letter %s: %w", id, err)
	}
	return nil
}

// ReplayAll replays every letter of a network (of all when empty) that is there
// when it begins and returns how many.
func (d *DeadLetters) ReplayAll(ctx context.Context, network string) (int, error) {
	n := 0
	err := d.visit(ctx, network, uuid.Nil, func(l DeadLetter) (verdict, error) {
		if err := d.publish(ctx, &l); err != nil {
			return keepAndStop, err
		}
		n++
		return remove, nil
	})
	if err != nil {
		return n, fmt.Errorf("replay dead letters: %w", err)
	}
	return n, nil
}

// Discard removes a letter for good. ErrNotFound when there is none.
func (d *DeadLetters) Discard(ctx context.Context, id uuid.UUID) error {
	if err := d.one(ctx, id, func(DeadLetter) error { return nil }); err != nil {
		return fmt.Errorf("discard dead letter %s: %w", id, err)
	}
	return nil
}

// one removes the letter of this identifier after do.
func (d *DeadLetters) one(ctx context.Context, id uuid.UUID, do func(DeadLetter) error) error {
	found := false
	err := d.visit(ctx, "", id, func(l DeadLetter) (verdict, error) {
		if l.ID != id {
			return keep, nil
		}
		found = true
		if err := do(l); err != nil {
			return keepAndStop, err
		}
		return removeAndStop, nil
	})
	if err == nil && !found {
		return ErrNotFound
	}
	return err
}

// visit shows the letters of a network. One that this program cannot read, of a
// newer version perhaps, is passed over with a log line.
func (d *DeadLetters) visit(ctx context.Context, network string, id uuid.UUID, see func(DeadLetter) (verdict, error)) error {
	return d.box.visit(ctx, network, id, func(data []byte) (verdict, error) {
		l, err := d.b.codec.decodeLetter(data)
		if err != nil {
			d.b.log.Error("queue: dead letter cannot be read", slog.Int("bytes", len(data)), slog.Any("error", err))
			return keep, nil
		}
		if network != "" && l.Network != network {
			return keep, nil
		}
		return see(l)
	})
}

// publish sends the letter's content where it came from.
func (d *DeadLetters) publish(ctx context.Context, l *DeadLetter) error {
	payload := l.Raw
	if l.Share != nil {
		data, err := d.b.codec.encodeEnvelope(*l.Share)
		if err != nil {
			return err
		}
		payload = data
	}
	if len(payload) == 0 {
		return errors.New("it holds neither a share nor a message")
	}
	ctx, cancel := context.WithTimeout(ctx, deadLetterTimeout)
	defer cancel()
	m := message.NewMessageWithContext(ctx, watermill.NewUUID(), payload)
	return d.b.Publisher().Publish(SharesTopic(l.Network), m)
}
