package queue

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
)

// DeadLetter is what could not be dealt with after bounded tries, kept until a
// person decides. It holds either one share or the bytes of a message that is
// no envelope.
type DeadLetter struct {
	ID       uuid.UUID // version 7; made by Add when zero
	At       time.Time // when it was set aside, UTC, microseconds; made by Add when zero
	Network  string
	Reason   string
	Attempts int
	Share    *Share // nil when Raw is set
	Raw      []byte // the message's payload
}

// DeadLetters is the dead-letter store of a broker. It is the backend's: a
// frontend has no permission for it.
type DeadLetters struct{}

// DeadLetters returns the broker's dead-letter store.
func (b *Broker) DeadLetters() *DeadLetters { return &DeadLetters{} }

// Add sets a letter aside; nil means that it is durable, so that the share may be acknowledged.
func (d *DeadLetters) Add(ctx context.Context, l DeadLetter) error { return errors.New("not built") }

// List returns up to limit letters, oldest first (limit 0: all), of one network,
// or of all when network is empty. Nothing is consumed.
func (d *DeadLetters) List(ctx context.Context, network string, limit int) ([]DeadLetter, error) {
	return nil, errors.New("not built")
}

// Replay publishes the letter again as a share and then removes it. Should the
// process die in between, both remain, and the ledger drops the duplicate. ErrNotFound when there is none.
func (d *DeadLetters) Replay(ctx context.Context, id uuid.UUID) error { return errors.New("not built") }

// ReplayAll replays every letter of a network (of all when empty) that is there when it begins
// and returns how many.
func (d *DeadLetters) ReplayAll(ctx context.Context, network string) (int, error) {
	return 0, errors.New("not built")
}

// Discard removes a letter for good. ErrNotFound when there is none.
func (d *DeadLetters) Discard(ctx context.Context, id uuid.UUID) error {
	return errors.New("not built")
}
