package queue

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
)

func (d *natsDriver) letters() letterBox { return (*natsLetters)(d) }

// natsLetters keeps dead letters in a stream, each under a subject that ends
// with its network and identifier, so that both can be asked for.
type natsLetters natsDriver

func (l *natsLetters) put(ctx context.Context, network string, id uuid.UUID, data []byte) error {
	return (*natsDriver)(l).publish(ctx, deadLetterWord+"."+network+"."+id.String(), data)
}

func (l *natsLetters) visit(ctx context.Context, network string, id uuid.UUID, see func([]byte) (verdict, error)) error {
	stream, err := l.js.Stream(ctx, natsDeadLetters)
	if err != nil {
		return err
	}
	if network == "" {
		network = "*"
	}
	name := "*"
	if id != uuid.Nil {
		name = id.String()
	}
	subject := topicPrefix + deadLetterWord + "." + network + "." + name
	return eachMessage(ctx, stream, subject, func(seq uint64, data []byte) (bool, error) {
		v, err := see(data)
		if err != nil {
			return false, err
		}
		if v == remove || v == removeAndStop {
			if err := stream.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return false, err
			}
		}
		return v != removeAndStop && v != keepAndStop, nil
	})
}

// eachMessage shows the messages of a subject that a stream holds now, the oldest
// first, with their sequence numbers, until see wants no more. Nothing is taken.
func eachMessage(ctx context.Context, stream jetstream.Stream, subject string, see func(seq uint64, data []byte) (more bool, err error)) error {
	last := stream.CachedInfo().State.LastSeq
	for seq := uint64(1); seq <= last; seq++ {
		m, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Sequence > last {
			return nil
		}
		seq = m.Sequence
		if more, err := see(seq, m.Data); err != nil || !more {
			return err
		}
	}
	return nil
}
