package queue

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
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
	state, err := ch.QueueDeclarePassive(amqpDeadLetterQueue, true, false, false, false, nil)
	if err != nil {
		return errors.Join(err, ch.Close())
	}
	left, lastHeld := state.Messages, uint64(0)
	defer func() { err = errors.Join(err, giveBack(ch, lastHeld, left), ch.Close()) }()
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
		if err == nil && (v == remove || v == removeAndStop) {
			err = m.Ack(false)
			left--
		} else {
			lastHeld = m.DeliveryTag
		}
		if err != nil {
			return err
		}
		if v == removeAndStop || v == keepAndStop {
			return nil
		}
	}
	return nil
}

// giveBack returns the messages that are held, the last of which has the
// delivery tag lastHeld, and waits until as many as there should be can be taken
// again: RabbitMQ returns them in its own time, and the next visit would miss them.
func giveBack(ch *amqp.Channel, lastHeld uint64, want int) error {
	if lastHeld == 0 || ch.IsClosed() {
		return nil
	}
	if err := ch.Nack(lastHeld, true, true); err != nil {
		return err
	}
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		state, err := ch.QueueDeclarePassive(amqpDeadLetterQueue, true, false, false, false, nil)
		// Another visitor may hold some of them by now: no reason to wait for long.
		if err != nil || state.Messages >= want || time.Now().After(deadline) {
			return err
		}
	}
}
