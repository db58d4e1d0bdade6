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
		v, err := see(m.Data)
		if err != nil {
			return err
		}
		if v == remove || v == removeAndStop {
			if err := stream.DeleteMsg(ctx, seq); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
				return err
			}
		}
		if v == removeAndStop || v == keepAndStop {
			return nil
		}
	}
	return nil
}
