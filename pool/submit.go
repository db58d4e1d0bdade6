package pool

import (
	"bytes"
	"context"
	"errors"
	"log/slog"

	"github.com/google/uuid"

	"purepool/ledger"
	"purepool/pool/queue"
	"purepool/pool/solution"
)

// SubmitSolution takes a share: once it returns without an error, the share is
// durable and its verdict will stand in the ledger. An error is a *Refusal; a
// refused share is written down in the ledger, too, unless its network is
// unknown or the queue is full.
//
// Cheap checks only, each before a dearer one. Where the ledger is away and the
// work is not in memory, the share is taken unchecked: the validator decides.
func (d *Desk) SubmitSolution(ctx context.Context, r SolutionRequest) (SolutionReceipt, error) {
	receipt, err := d.submitSolution(ctx, r)
	d.metrics.count(d.label(r.Network), "solution", err)
	return receipt, err
}

func (d *Desk) submitSolution(ctx context.Context, r SolutionRequest) (SolutionReceipt, error) {
	n, ok := d.networks[r.Network]
	if !ok {
		return SolutionReceipt{}, invalidNetwork()
	}
	if !r.Solution.Present {
		return SolutionReceipt{}, &Refusal{KindSolutionMissing, "Solution is missing"}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return SolutionReceipt{}, d.unavailable("making a share id", err)
	}
	share := &queue.Share{
		ID: id, ReceivedAt: r.ReceivedAt.UTC(), Frontend: d.cfg.Frontend, RemoteIP: r.RemoteIP,
		Solution: []byte(r.Solution.Value),
	}
	d.trace(ctx, "share received", n, share, r.ID)
	s, err := solution.Parse(share.Solution)
	if err != nil {
		return SolutionReceipt{}, d.refuse(ctx, n, share, malformed(err))
	}
	share.WorkID, share.MinerID = s.WorkID, s.MinerID
	if refusal := d.check(ctx, n, s); refusal != nil {
		return SolutionReceipt{}, d.refuse(ctx, n, share, refusal)
	}
	d.metrics.checked[n.Name].Observe(d.cfg.Now().Sub(r.ReceivedAt).Seconds())
	if err := d.queue.Publish(ctx, n.Name, share); err != nil {
		d.cfg.Logger.Error("share could not be queued", slog.String("network", n.Name), slog.String("share", share.ID.String()), slog.Any("error", err))
		return SolutionReceipt{}, &Refusal{KindUnavailable, "The pool cannot take shares at the moment, please try again in a minute"}
	}
	d.trace(ctx, "share durable", n, share, r.ID)
	d.proofs.Add(proofKey{n.ID, s.BibleHash}, struct{}{})
	return SolutionReceipt{WorkID: string(s.WorkIDText)}, nil
}

// trace says at level debug how far a share is. The validator goes on under the
// same key.
func (d *Desk) trace(ctx context.Context, what string, n *Network, share *queue.Share, request RequestID) {
	if !d.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("network", n.Name), slog.String("share", share.ID.String())}
	if request != 0 {
		attrs = append(attrs, slog.String("request", request.String()))
	}
	if share.WorkID != uuid.Nil {
		attrs = append(attrs, slog.String("work", share.WorkID.String()))
	}
	if share.Refusal != "" {
		attrs = append(attrs, slog.String("reason", share.Refusal))
	}
	//nolint:sloglint // what is a constant of the caller
	d.cfg.Logger.LogAttrs(ctx, slog.LevelDebug, what, append(attrs, slog.String("ip", share.RemoteIP.String()))...)
}

// check is all that can be said of a well-formed share without hashing.
func (d *Desk) check(ctx context.Context, n *Network, s *solution.Solution) *Refusal {
	work, err := d.work(ctx, n, s.WorkID)
	if err != nil {
		d.metrics.unchecked.WithLabelValues(n.Name).Inc()
		d.cfg.Logger.Warn("share taken unchecked", slog.String("network", n.Name), slog.Any("error", err))
		return nil
	}
	switch {
	case !work.known || work.NetworkID != n.ID || work.MinerGUID != s.MinerID:
		return &Refusal{
			KindUnknownWork,
			"Work " + s.WorkID.String() + " was not given to miner " + s.MinerID.String() + ", please ask for new work",
		}
	case !work.MinerEnabled, d.cfg.Bans.GUID(work.MinerGUID):
		return disabled(s.MinerID.String())
	case d.cfg.Now().Sub(work.IssuedAt) > d.cfg.WorkLifetime:
		return &Refusal{KindWorkExpired, "Work " + s.WorkID.String() + " has expired, please ask for new work"}
	case bytes.Compare(s.BibleHash[:], work.HashTarget[:]) >= 0:
		return &Refusal{KindHashTargetExceeded, "HashTargetExceeded: the proof is not below the target of the work"}
	case d.proofs.Contains(proofKey{n.ID, s.BibleHash}):
		return &Refusal{KindDuplicate, "BibleHashAlreadyKnown: this share was handed in before"}
	}
	return nil
}

// work returns what is known of a piece of work: from memory while that is
// fresh, else from the ledger, and from memory again while the ledger is away.
func (d *Desk) work(ctx context.Context, n *Network, id uuid.UUID) (issuedWork, error) {
	cached, ok := d.works.Get(id)
	if ok && d.cfg.Now().Sub(cached.checkedAt) < d.cfg.StateTTL {
		return cached, nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	work, err := d.lookups.do(ctx, workKey{n.ID, id})
	if err != nil {
		if ok {
			return cached, nil
		}
		return issuedWork{}, err
	}
	if work.known { // only what exists is kept: invented ids must not push it out
		d.works.Add(id, work)
	}
	return work, nil
}

func (d *Desk) lookupWorks(ctx context.Context, keys []workKey) ([]issuedWork, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StoreTimeout)
	defer cancel()
	perNetwork := make(map[int16][]uuid.UUID, 1)
	for _, k := range keys {
		perNetwork[k.network] = append(perNetwork[k.network], k.id)
	}
	found := make(map[int16]map[uuid.UUID]ledger.IssuedWork, len(perNetwork))
	for network, ids := range perNetwork {
		works, err := d.store.IssuedWorks(ctx, network, ids)
		if err != nil {
			return nil, err
		}
		found[network] = works
	}
	now := d.cfg.Now()
	out := make([]issuedWork, len(keys))
	for i, k := range keys {
		work, known := found[k.network][k.id]
		out[i] = issuedWork{IssuedWork: work, known: known, checkedAt: now}
	}
	return out, nil
}

// refuse writes a refused share down, so that every refusal leaves one record
// that its miner can be shown, and returns the refusal.
func (d *Desk) refuse(ctx context.Context, n *Network, share *queue.Share, refusal *Refusal) *Refusal {
	share.Solution = nil
	share.Refusal = string(refusal.Kind)
	if err := d.queue.Publish(ctx, n.Name, share); err != nil {
		d.metrics.unrecorded.WithLabelValues(n.Name).Inc()
		d.cfg.Logger.Warn("refusal not written down", slog.String("network", n.Name), slog.String("share", share.ID.String()), slog.Any("error", err))
	}
	d.trace(ctx, "share refused", n, share, 0)
	return refusal
}

func malformed(err error) *Refusal {
	var e *solution.Error
	if errors.As(err, &e) && e.Field < 0 {
		return &Refusal{KindSolutionInvalid, "Invalit Solution"} // the spelling that clients in the field know
	}
	return &Refusal{KindSolutionInvalid, "Solution is invalid: " + err.Error()}
}
