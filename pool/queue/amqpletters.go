package queue

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

func (d *amqpDriver) letters() letterBox { return (*amqpLetters)(d) }

// amqpLetters keeps dead letters in a queue. AMQP cannot look without taking:
// a visit takes the letters without acknowledging them and gives them back at
// its end. Should the process die meanwhile, RabbitMQ puts them back by itself.
type amqpLetters amqpDriver

func (l *amqpLetters) put(ctx context.Context, network string, id uuid.UUID, data []byte) error {
	m := message.NewMessageWithContext(ctx, id.String(), data)
	return l.confirm.Publish(deadLetterWord+"."+network+"."+id.String(), m)
}

func (l *amqpLetters) visit(ctx context.Context, _ string, _ uuid.UUID, see func([]byte) (verdict, error)) (err error) {
	ch, err := (*amqpDriver)(l).channel()
	if err != nil {
		return err
	}
	// Closing gives back what has not been acknowledged, and comes behind the
	// acknowledgements.
	defer func() { err = errors.Join(err, ch.Close()) }()
	state, err := ch.QueueDeclarePassive(amqpDeadLetterQueue, true, false, false, false, nil)
	if err != nil {
		return err
	}
	// Letters that come during the visit, such as one replayed in vain, are not seen.
	for range state.Messages {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, ok, err := ch.Get(amqpDeadLetterQueue, false)
		if err != nil || !ok {
			return err
		}
		v, err := see(m.Body)
		if err != nil {
			return err
		}
		if v == remove || v == removeAndStop {
			if err := m.Ack(false); err != nil {
				return err
			}
		}
		if v == removeAndStop || v == keepAndStop {
			return nil
		}
	}
	return nil
}
