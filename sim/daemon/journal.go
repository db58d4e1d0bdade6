package daemon

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"purepool/pool/chain"
)

// journal keeps the chain and the wallet over restarts: one JSON document a line
// for everything that happened to them, in order. A line that a killed process
// did not finish is the last one, and is dropped. A nil journal keeps nothing.
// Safe for concurrent use.
type journal struct {
	log *slog.Logger

	mu   sync.Mutex
	file *os.File
}

// event is one line; one of the fields is set.
type event struct {
	Base    *baseEvent    `json:"base,omitempty"`    // the first block
	Connect []byte        `json:"connect,omitempty"` // a block on the tip
	Keep    []byte        `json:"keep,omitempty"`    // a block of another branch
	Cut     int           `json:"cut,omitempty"`     // blocks that left the tip
	Payment *paymentEvent `json:"payment,omitempty"`
}

type baseEvent struct {
	Height int64  `json:"height"`
	Hash   string `json:"hash"`
	Raw    []byte `json:"raw"`
	// Stranger: the bytes are not those of the hash; nobody may see them.
	Stranger bool `json:"stranger,omitempty"`
}

type paymentEvent struct {
	Raw       []byte       `json:"raw"`
	Outputs   []payeeEvent `json:"outputs"`
	Fee       int64        `json:"fee"`
	Comment   string       `json:"comment,omitempty"`
	CommentTo string       `json:"comment_to,omitempty"`
	Unix      int64        `json:"unix"`
	Tip       int64        `json:"tip"`
}

type payeeEvent struct {
	Address string `json:"address"`
	Amount  int64  `json:"amount"`
}

// openJournal reads what is there and opens the file for more.
func openJournal(path string, log *slog.Logger) (*journal, []event, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, nil, err
	}
	events, length, err := readEvents(file)
	if err == nil {
		if err = file.Truncate(length); err == nil {
			_, err = file.Seek(length, io.SeekStart)
		}
	}
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return &journal{log: log, file: file}, events, nil
}

// readEvents returns the events and the length of the whole lines.
func readEvents(file io.Reader) (events []event, length int64, err error) {
	r := bufio.NewReader(file)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, length, nil
		}
		if err != nil {
			return nil, 0, err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, 0, fmt.Errorf("after %d bytes: %w", length, err)
		}
		events, length = append(events, e), length+int64(len(line))
	}
}

// write keeps an event. What cannot be written is told, and the daemon goes on.
func (j *journal) write(e event) {
	if j == nil {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		j.mu.Lock()
		_, err = j.file.Write(append(line, '\n'))
		j.mu.Unlock()
	}
	if err != nil {
		j.log.Error("the simulated chain could not be kept", slog.Any("error", err))
	}
}

func (j *journal) close() {
	if j != nil {
		j.file.Close()
	}
}

// replay builds the chain of what was kept.
func (c *Chain) replay(events []event) error {
	for i := range events {
		if err := c.replayOne(&events[i]); err != nil {
			return fmt.Errorf("journal: event %d: %w", i, err)
		}
	}
	if len(c.active) == 0 {
		return errors.New("journal: it begins without a first block")
	}
	return nil
}

func (c *Chain) replayOne(e *event) error {
	switch {
	case e.Base != nil:
		hash, err := chain.ParseHash(e.Base.Hash)
		if err != nil {
			return err
		}
		b, err := c.restore(e.Base.Raw, e.Base.Height)
		if err != nil {
			return err
		}
		if e.Base.Stranger {
			b.Hash, b.Raw = hash, nil
		}
		c.opts.BaseHeight = e.Base.Height
		c.connect(b)
	case len(c.active) == 0:
		return errors.New("it comes before the first block")
	case e.Connect != nil:
		b, err := c.restore(e.Connect, c.tip().Height+1)
		if err != nil {
			return err
		}
		c.connect(b)
	case e.Keep != nil:
		block, err := chain.DecodeBlock(e.Keep)
		if err != nil {
			return err
		}
		prev := c.known[block.Header.Prev]
		if prev == nil {
			return errors.New("a block on no other")
		}
		c.remember(c.describe(block, prev.Height+1, e.Keep, c.hash(&block.Header)))
	case e.Cut > 0 && e.Cut < len(c.active):
		c.active = c.active[:len(c.active)-e.Cut]
	}
	return nil
}

// restore reads a block that was kept.
func (c *Chain) restore(raw []byte, height int64) (*Block, error) {
	block, err := chain.DecodeBlock(raw)
	if err != nil {
		return nil, err
	}
	return c.describe(block, height, raw, c.hash(&block.Header)), nil
}

// replay takes the payments that were kept.
func (w *wallet) replay(events []event) error {
	for _, e := range events {
		if e.Payment == nil {
			continue
		}
		tx, err := chain.DecodeTransaction(e.Payment.Raw)
		if err != nil {
			return fmt.Errorf("journal: payment: %w", err)
		}
		p := &payment{
			id: tx.TxID(), raw: e.Payment.Raw, fee: e.Payment.Fee, comment: e.Payment.Comment, commentTo: e.Payment.CommentTo,
			unix: e.Payment.Unix, tip: e.Payment.Tip,
		}
		for _, o := range e.Payment.Outputs {
			address, err := chain.DecodeAddress(o.Address, w.network)
			if err != nil {
				return fmt.Errorf("journal: payment: %w", err)
			}
			p.outputs = append(p.outputs, payee{address, o.Amount})
		}
		w.payments = append(w.payments, p)
	}
	return nil
}

func (p *payment) event() event {
	e := &paymentEvent{Raw: p.raw, Fee: p.fee, Comment: p.comment, CommentTo: p.commentTo, Unix: p.unix, Tip: p.tip}
	for _, o := range p.outputs {
		e.Outputs = append(e.Outputs, payeeEvent{o.address.String(), o.amount})
	}
	return event{Payment: e}
}
