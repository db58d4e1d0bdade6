package main

import (
	"context"
	"errors"
	"log/slog"

	"purepool/internal/config"
	"purepool/internal/control"
	"purepool/internal/role"
	"purepool/pool/queue"
)

// brokerRoom is the configured broker, wherever it lives.
type brokerRoom struct {
	queue   control.Queue
	letters control.DeadLetters
}

// withBroker calls do with the configured broker: an embedded one is reached
// through the process that has it open. control.ErrNobody where none has.
func withBroker(ctx context.Context, cfg *config.Config, log *slog.Logger, do func(brokerRoom) error) (err error) {
	if folder, ok := role.Embedded(&cfg.Queue); ok {
		client, err := control.Dial(ctx, folder)
		if err != nil {
			return err
		}
		return do(brokerRoom{client, client})
	}
	return withOwnBroker(ctx, cfg, log, func(b *queue.Broker) error { return do(brokerRoom{b, b.DeadLetters()}) })
}

// withOwnBroker calls do with a broker that this process opens itself: an
// external one, or an embedded one that no other process has open.
func withOwnBroker(ctx context.Context, cfg *config.Config, log *slog.Logger, do func(*queue.Broker) error) (err error) {
	broker, err := queue.Open(ctx, role.QueueConfig(&cfg.Queue, "admin", log, nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	return do(broker)
}
