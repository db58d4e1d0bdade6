package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

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
	if folder, ok := role.Embedded(&cfg.Queue); ok {
		defer func() { err = errors.Join(err, handBack(folder)) }()
	}
	broker, err := queue.Open(ctx, role.QueueConfig(&cfg.Queue, "admin", log, nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	return do(broker)
}

// handBack gives what root has written below a folder to the user whose folder it
// is: root's help must not lock the role out of its own files.
func handBack(folder string) error {
	info, err := os.Stat(folder)
	if errors.Is(err, fs.ErrNotExist) || os.Geteuid() != 0 {
		return nil
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}
