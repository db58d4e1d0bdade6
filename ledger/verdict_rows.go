package ledger

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

const (
	// Relies on share_network_id_height_proof_key.
	insertSharesSQL = `
INSERT INTO share (received_at, judged_at, worker_id, miner_id, weight, hashes_per_second, height, network_id, id, work_id, proof)
SELECT r.received_at, $1, r.worker_id, r.miner_id, r.weight, nullif(r.hps, 0), r.height, $2, r.id, r.work_id, r.proof
FROM unnest(
    CAST($3 AS timestamptz[]), CAST($4 AS bigint[]), CAST($5 AS bigint[]), CAST($6 AS bigint[]), CAST($7 AS bigint[]),
    CAST($8 AS integer[]), CAST($9 AS uuid[]), CAST($10 AS uuid[]), CAST($11 AS bytea[])
) AS r (received_at, worker_id, miner_id, weight, hps, height, id, work_id, proof)
ON CONFLICT (network_id, height, proof) DO NOTHING
RETURNING id`

	// Relies on rejected_share_pkey.
	insertRejectedSQL = `
INSERT INTO rejected_share (received_at, judged_at, worker_id, miner_id, height, network_id, id, work_id, proof, reason, detail, remote_ip, weight)
SELECT r.received_at, $1, nullif(r.worker_id, 0), nullif(r.miner_id, 0), r.height, $2, r.id, r.work_id, nullif(r.proof, ''), r.reason, nullif(r.detail, ''), r.remote_ip, nullif(r.weight, 0)
FROM unnest(
    CAST($3 AS timestamptz[]), CAST($4 AS bigint[]), CAST($5 AS bigint[]), CAST($6 AS integer[]), CAST($7 AS uuid[]),
    CAST($8 AS uuid[]), CAST($9 AS bytea[]), CAST($10 AS text[]), CAST($11 AS text[]), CAST($12 AS inet[]), CAST($13 AS bigint[])
) AS r (received_at, worker_id, miner_id, height, id, work_id, proof, reason, detail, remote_ip, weight)
ON CONFLICT (received_at, id) DO NOTHING
RETURNING id`

	copySolutionsSQL = `COPY share_solution (received_at, share_id, solution) FROM STDIN`
)

// insertCredited writes the credited shares row by row, and leaves those out
// whose proof another validator has written: they become redeliveries or
// duplicates.
func (w *writer) insertCredited(ctx context.Context) error {
	if len(w.credited) == 0 {
		return nil
	}
	n := len(w.credited)
	times, ids, works := make([]string, n), make([]string, n), make([]string, n)
	workers, miners, weights, hps := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	keys := make([]ProofKey, n)
	for i, r := range w.credited {
		times[i], ids[i], works[i] = timeText(r.ReceivedAt), r.id, r.WorkID.String()
		workers[i], miners[i], weights[i], hps[i] = r.WorkerID, r.MinerID, r.Weight, r.HashesPerSecond
		keys[i] = r.key()
	}
	heights, proofs := proofArrays(keys)
	inserted, err := w.insertedIDs(ctx, insertSharesSQL, w.batch.now, w.batch.networkID, pq.Array(times), pq.Array(workers),
		pq.Array(miners), pq.Array(weights), pq.Array(hps), heights, pq.Array(ids), pq.Array(works), proofs)
	if err != nil {
		return err
	}
	w.written.Credited = len(inserted)
	if len(inserted) == n {
		return nil
	}
	// The winners have committed by now: who are they?
	k, err := w.lookUpAll(ctx)
	if err != nil {
		return err
	}
	credited, rejected := w.credited, w.rejected
	w.credited, w.rejected = nil, nil
	for _, r := range rejected {
		// Taken for the duplicate of a share in this batch that has now lost,
		// perhaps to this very share, written by somebody else.
		if k.owners[r.key()] == r.ShareID && r.HasProof {
			w.written.Redelivered++
		} else {
			w.rejected = append(w.rejected, r)
		}
	}
	for _, r := range credited {
		owner, known := k.owners[r.key()]
		switch {
		case inserted[r.ShareID]:
			w.credited = append(w.credited, r)
		case !known:
			return errLost
		case owner == r.ShareID:
			w.written.Redelivered++
		default:
			w.reject(r)
		}
	}
	return nil
}

// insertRejected writes the rejected shares, and leaves out those that were
// written before.
func (w *writer) insertRejected(ctx context.Context) error {
	if len(w.rejected) == 0 {
		return nil
	}
	sortByArrival(w.rejected)
	n := len(w.rejected)
	times, ids, reasons, details := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	workers, miners, weights := make([]int64, n), make([]int64, n), make([]int64, n)
	heights, works, ips, proofs := make([]*int32, n), make([]*string, n), make([]*string, n), make([][]byte, n)
	for i, r := range w.rejected {
		times[i], ids[i], reasons[i], details[i] = timeText(r.dayAt), r.id, r.Reason, r.Detail
		workers[i], miners[i], ips[i], weights[i] = r.WorkerID, r.MinerID, ipText(r.RemoteIP), r.Weight
		if r.WorkID != uuid.Nil {
			work := r.WorkID.String()
			works[i] = &work
		}
		if r.HasProof {
			heights[i], proofs[i] = &r.Height, r.Proof[:]
		}
	}
	inserted, err := w.insertedIDs(ctx, insertRejectedSQL, w.batch.now, w.batch.networkID, pq.Array(times), pq.Array(workers),
		pq.Array(miners), pq.Array(heights), pq.Array(ids), pq.Array(works), pq.Array(proofs),
		pq.Array(reasons), pq.Array(details), pq.Array(ips), pq.Array(weights))
	if err != nil {
		return err
	}
	all := w.rejected
	w.rejected = nil
	for _, r := range all {
		switch {
		case !inserted[r.ShareID]:
			w.written.Redelivered++
			continue
		case r.duplicate:
			w.written.Duplicates++
		default:
			w.written.Rejected++
		}
		w.rejected = append(w.rejected, r)
	}
	return nil
}

func (w *writer) insertedIDs(ctx context.Context, query string, args ...any) (map[uuid.UUID]bool, error) {
	rows, err := w.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	inserted := make(map[uuid.UUID]bool)
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		inserted[id] = true
	}
	return inserted, rows.Err()
}

// copySolutions writes the texts of what was written just now, of which the shares
// of template networks have none.
func (w *writer) copySolutions(ctx context.Context) error {
	var rows []*row
	for _, r := range slices.Concat(w.credited, w.rejected) {
		if len(r.Solution) > 0 {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return nil
	}
	stmt, err := w.tx.PrepareContext(ctx, copySolutionsSQL)
	if err != nil {
		return err
	}
	defer stmt.Close()
	for _, r := range rows {
		if _, err := stmt.ExecContext(ctx, r.dayAt, r.id, byteaText(r.Solution)); err != nil {
			return err
		}
	}
	_, err = stmt.ExecContext(ctx)
	return err
}

// byteaText writes bytes in Postgres' escape format, in which the text that a
// miner sends is itself: half the size of the driver's hex, and cheaper.
func byteaText(b []byte) string {
	plain := true
	for _, c := range b {
		if c < 0x20 || c > 0x7e || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return string(b)
	}
	text := make([]byte, 0, len(b)+len(b)/4)
	for _, c := range b {
		if c < 0x20 || c > 0x7e || c == '\\' {
			text = append(text, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		} else {
			text = append(text, c)
		}
	}
	return string(text)
}
