package miner

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"purepool/pool/chain"
	"purepool/sim/daemon"
)

// Source is the node that a classic miner runs itself: it tells what to build a
// block on, and takes the blocks that are found. Safe for concurrent use.
type Source interface {
	Template(ctx context.Context) (daemon.Template, error)
	// Submit offers a block; the reason is empty where it is the new tip.
	Submit(ctx context.Context, raw []byte) (reason string, err error)
}

// InProcess is the chain of a daemon in the same process.
func InProcess(c *daemon.Chain) Source { return inProcess{c} }

type inProcess struct{ chain *daemon.Chain }

func (s inProcess) Template(context.Context) (daemon.Template, error) { return s.chain.Template(), nil }

func (s inProcess) Submit(_ context.Context, raw []byte) (string, error) { return s.chain.Submit(raw) }

// RPC is a simulated daemon behind its URL. A template is used for up to half a
// second by all who ask.
type RPC struct {
	// URL is that of the daemon's RPC server, User and Password its credentials.
	URL, User, Password string
	// HTTP is used where it is set (a client with a time-out of 10 s).
	HTTP *http.Client

	mu       sync.Mutex
	template daemon.Template
	at       time.Time
}

// Template asks simtemplate, or answers from memory.
func (s *RPC) Template(ctx context.Context) (daemon.Template, error) {
	const fresh = 500 * time.Millisecond
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) < fresh {
		return s.template, nil
	}
	var t struct {
		Height            int64  `json:"height"`
		PreviousBlockHash string `json:"previousblockhash"`
		PreviousTime      int64  `json:"previoustime"`
		CurTime           int64  `json:"curtime"`
		Bits              string `json:"bits"`
		CoinbaseValue     int64  `json:"coinbasevalue"`
	}
	if err := s.call(ctx, &t, "simtemplate"); err != nil {
		return daemon.Template{}, err
	}
	prev, err := chain.ParseHash(t.PreviousBlockHash)
	if err != nil {
		return daemon.Template{}, fmt.Errorf("simtemplate: %w", err)
	}
	bits, err := strconv.ParseUint(t.Bits, 16, 32)
	if err != nil {
		return daemon.Template{}, fmt.Errorf("simtemplate: %w", err)
	}
	s.template = daemon.Template{
		Height: t.Height, PrevHash: prev, PrevTime: t.PreviousTime, Time: t.CurTime,
		Bits: uint32(bits), CoinbaseValue: t.CoinbaseValue,
	}
	s.at = time.Now()
	return s.template, nil
}

// Submit calls submitblock.
func (s *RPC) Submit(ctx context.Context, raw []byte) (string, error) {
	var reason *string
	if err := s.call(ctx, &reason, "submitblock", hex.EncodeToString(raw)); err != nil {
		return "", err
	}
	s.mu.Lock()
	s.at = time.Time{} // the tip has changed, as a rule
	s.mu.Unlock()
	if reason == nil {
		return "", nil
	}
	return *reason, nil
}

func (s *RPC) call(ctx context.Context, result any, method string, params ...string) error {
	if params == nil {
		params = []string{}
	}
	body, err := json.Marshal(map[string]any{"method": method, "params": params, "id": 1})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth(s.User, s.Password)
	client := s.HTTP
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("%s: status %d: %w", method, resp.StatusCode, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s (%d)", method, answer.Error.Message, answer.Error.Code)
	}
	return json.Unmarshal(answer.Result, result)
}
