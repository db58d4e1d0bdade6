package queue

import (
	"context"
	"errors"
)

func openAMQP(ctx context.Context, cfg Config) (driver, error) { return nil, errors.New("not built") }
