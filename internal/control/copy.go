package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"purepool/pool/queue"
)

// A copy of the queue travels as frames: four bytes of length, little-endian, and
// as many of an envelope. A length of zero ends it well, endBadly is followed by
// the error's text. A line that ends without either was cut.
const (
	endBadly = 1<<32 - 1
	maxFrame = 64 << 20
)

func sendCopy(w http.ResponseWriter, r *http.Request, broker Queue) {
	w.Header().Set("Content-Type", "application/octet-stream")
	out := http.NewResponseController(w)
	send := func(length uint32, body []byte) error {
		// A backlog may take longer than an answer of a few words.
		if err := out.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		if _, err := w.Write(binary.LittleEndian.AppendUint32(nil, length)); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	err := broker.Copy(r.Context(), r.PathValue("network"), func(envelope []byte) error {
		if len(envelope) == 0 || len(envelope) > maxFrame {
			return fmt.Errorf("an envelope of %d bytes", len(envelope))
		}
		return send(uint32(len(envelope)), envelope) //nolint:gosec // bounded above
	})
	if err != nil {
		_ = send(endBadly, []byte(err.Error())) // a line that was cut tells it too
		return
	}
	_ = send(0, nil)
}

// Copy is that of queue.Broker.
func (c *Client) Copy(ctx context.Context, network string, see func(envelope []byte) error) error {
	u := url.URL{Scheme: "http", Host: "control", Path: "/queue/" + network + "/copy"}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	// Without the time limit of short answers: ctx bounds it.
	response, err := (&http.Client{Transport: c.http.Transport}).Do(r)
	if err != nil {
		return fmt.Errorf("asking the running process: %w", err)
	}
	defer response.Body.Close()
	for {
		var head [4]byte
		if _, err := io.ReadFull(response.Body, head[:]); err != nil {
			return fmt.Errorf("the copy of the queue was cut: %w", err)
		}
		length := binary.LittleEndian.Uint32(head[:])
		switch {
		case length == 0:
			return nil
		case length == endBadly:
			text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
			return errors.Join(errors.New(string(text)), err)
		case length > maxFrame:
			return fmt.Errorf("the copy of the queue holds an envelope of %d bytes", length)
		}
		envelope := make([]byte, length)
		if _, err := io.ReadFull(response.Body, envelope); err != nil {
			return fmt.Errorf("the copy of the queue was cut: %w", err)
		}
		if err := see(envelope); err != nil {
			return err
		}
	}
}

// Depth is that of queue.Broker.
func (c *Client) Depth(ctx context.Context, network string) (queue.Depth, error) {
	a, err := c.do(ctx, http.MethodGet, "/queue/"+network, nil)
	return a.Depth, err
}
