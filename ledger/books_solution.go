package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// KeptSolution is the text that a miner sent, as it is kept for some days.
type KeptSolution struct {
	// KeptAt is the share's arrival, moved into the days that had partitions when it
	// was judged; by it a rejection is found again.
	KeptAt   time.Time
	ShareID  uuid.UUID
	Solution []byte
	// Height and Proof are what the text says, where it can be read; HasProof says
	// that it can. The reader fills them in: see [Books.Rulings].
	Height   int32
	Proof    [32]byte
	HasProof bool
}

// JudgedMinutes returns the minutes of [from, until) in which shares of a network
// arrived that were judged, in order.
func (b *Books) JudgedMinutes(ctx context.Context, networkID int16, from, until time.Time) (list []time.Time, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	// Uses network_minute_pkey.
	err = b.db.SelectContext(ctx, &list, `SELECT minute FROM network_minute
		WHERE network_id = $1 AND minute >= $2 AND minute < $3 AND shares + rejected > 0 ORDER BY minute`, networkID, from.UTC(), until.UTC())
	for i := range list {
		list[i] = list[i].UTC()
	}
	return list, wrap(ctx, "list minutes", err)
}

// KeptSolutions returns the texts of [from, until), of all networks and in no
// order; where there are more than limit, some of them, chosen at random.
func (b *Books) KeptSolutions(ctx context.Context, from, until time.Time, limit int) (list []KeptSolution, err error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	// Uses share_solution_received_at.
	rows, err := b.db.QueryContext(ctx, `SELECT received_at, share_id, solution FROM share_solution
		WHERE received_at >= $1 AND received_at < $2 ORDER BY random() LIMIT $3`, from.UTC(), until.UTC(), limit)
	if err != nil {
		return nil, wrap(ctx, "read solutions", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k KeptSolution
		if err := rows.Scan(&k.KeptAt, &k.ShareID, &k.Solution); err != nil {
			return nil, wrap(ctx, "read solutions", err)
		}
		k.KeptAt = k.KeptAt.UTC()
		list = append(list, k)
	}
	return list, wrap(ctx, "read solutions", rows.Err())
}

// Ruling is what the ledger says became of a share.
type Ruling struct {
	NetworkID  int16
	ReceivedAt time.Time
	WorkerID   int64 // 0: of unknown work
	Weight     int64 // of a credited share
	// Stands is true for a share that was refused for its place in the chain and
	// credited when its block came to stand ([StaleWinner]).
	Stands bool
	Reason string // empty: credited
	Detail string
	// Owner is the share to which the proof is credited, where it is another one;
	// the zero UUID otherwise.
	Owner uuid.UUID
}

// rulingsSQL finds credited shares by share_network_id_height_proof_key, of
// whichever network, and rejected ones by rejected_share_pkey.
const rulingsSQL = `
SELECT k.n, s.network_id, s.id, s.received_at, s.worker_id, s.weight, '' AS reason, '' AS detail,
    EXISTS (SELECT FROM stale_winner AS w WHERE w.network_id = s.network_id AND w.height = s.height AND w.proof = s.proof AND w.share_id = s.id) AS stands
FROM unnest(CAST($1 AS integer[]), CAST($2 AS bytea[])) WITH ORDINALITY AS k (height, proof, n)
CROSS JOIN network AS w
CROSS JOIN LATERAL (SELECT * FROM share WHERE network_id = w.id AND height = k.height AND proof = k.proof OFFSET 0) AS s
WHERE k.height >= 0
UNION ALL
SELECT k.n, r.network_id, r.id, r.received_at, coalesce(r.worker_id, 0), 0, r.reason, coalesce(r.detail, ''), false
FROM unnest(CAST($3 AS timestamptz[]), CAST($4 AS uuid[])) WITH ORDINALITY AS k (received_at, id, n)
CROSS JOIN LATERAL (SELECT * FROM rejected_share WHERE received_at = k.received_at AND id = k.id OFFSET 0) AS r`

// Rulings looks up what became of shares whose solutions are kept, by share. One
// that stands nowhere is missing.
func (b *Books) Rulings(ctx context.Context, kept []KeptSolution) (map[uuid.UUID]Ruling, error) {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	heights, proofs := make([]int32, len(kept)), make([][]byte, len(kept))
	times, ids := make([]string, len(kept)), make([]string, len(kept))
	for i := range kept {
		k := &kept[i]
		heights[i], proofs[i] = -1, []byte{} // found nowhere
		if k.HasProof {
			heights[i], proofs[i] = k.Height, k.Proof[:]
		}
		times[i], ids[i] = timeText(k.KeptAt), k.ShareID.String()
	}
	rows, err := b.db.QueryContext(ctx, rulingsSQL, pq.Array(heights), pq.Array(proofs), pq.Array(times), pq.Array(ids))
	if err != nil {
		return nil, wrap(ctx, "look up verdicts", err)
	}
	defer rows.Close()
	found, owners := map[uuid.UUID]Ruling{}, map[uuid.UUID]uuid.UUID{}
	for rows.Next() {
		var n int
		var id uuid.UUID
		var r Ruling
		if err := rows.Scan(&n, &r.NetworkID, &id, &r.ReceivedAt, &r.WorkerID, &r.Weight, &r.Reason, &r.Detail, &r.Stands); err != nil {
			return nil, wrap(ctx, "look up verdicts", err)
		}
		r.ReceivedAt = r.ReceivedAt.UTC()
		if share := kept[n-1].ShareID; share == id {
			found[id] = r
		} else {
			owners[share] = id
		}
	}
	for share, owner := range owners {
		if r, there := found[share]; there {
			r.Owner = owner
			found[share] = r
		}
	}
	return found, wrap(ctx, "look up verdicts", rows.Err())
}
