package ledger_test

import (
	"testing"
	"time"

	"purepool/ledger/ledgertest"
)

func TestNumbersOfAnEmptyNetworkAreZeroAndNotMissing(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Backend().NumbersStore()
	n, err := store.Numbers(t.Context(), 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for what, counts := range map[string]map[string]int64{"blocks": n.Blocks, "payments": n.Payments, "accounts": n.Accounts} {
		if len(counts) < 4 {
			t.Errorf("%s: only %v", what, counts)
		}
		for state, count := range counts {
			if count != 0 {
				t.Errorf("%d %s in state %s", count, what, state)
			}
		}
	}
	if n.HashesPerSecond != [3]float64{} || n.Imbalance != 0 || n.Liabilities != 0 || !n.OldestPayment.IsZero() {
		t.Errorf("%+v", n)
	}
}

func TestNumbersAreThoseOfTheBooks(t *testing.T) {
	db := ledgertest.New(t)
	owner := db.SQL("postgres")
	now := time.Now().UTC().Truncate(time.Minute)
	for _, statement := range []string{
		`INSERT INTO network_minute (network_id, minute, shares, rejected, rejected_unknown, weight)
		 SELECT 1, now_minute - n * interval '1 minute', 1, 0, 0, 6000 FROM (SELECT date_trunc('minute', now()) AS now_minute) AS m, generate_series(0, 90) AS n`,
		`INSERT INTO miner (network_id, address, guid) VALUES (1, 'a', gen_random_uuid()), (1, 'b', gen_random_uuid())`,
		`INSERT INTO account (network_id, kind, miner_id) SELECT 1, 'miner', id FROM miner`,
		`INSERT INTO account (network_id, kind) VALUES (1, 'reward'), (1, 'fee')`,
		`INSERT INTO balance (account_id, amount) SELECT a.id, CASE WHEN kind = 'reward' THEN -1000 WHEN kind = 'fee' THEN 10
		 WHEN address = 'a' THEN 1200 ELSE -200 END FROM account a LEFT JOIN miner m ON m.id = a.miner_id`,
		`INSERT INTO block (network_id, height, hash, block_time, reward, state, main) VALUES
		 (1, 1, decode(repeat('01', 32), 'hex'), now(), 5, 'immature', true), (1, 2, decode(repeat('02', 32), 'hex'), now(), 7, 'immature', false),
		 (1, 3, decode(repeat('03', 32), 'hex'), now(), 9, 'orphaned', false)`,
		`INSERT INTO payment (network_id, tag, state, held) VALUES (1, 'x', 'intent', true), (1, 'y', 'intent', false), (1, 'z', 'confirmed', false)`,
	} {
		if _, err := owner.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	n, err := db.Backend().NumbersStore().Numbers(t.Context(), 1, now.Add(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if n.HashesPerSecond != [3]float64{100, 100, 100} {
		t.Errorf("hash rates %v, want 100 each", n.HashesPerSecond)
	}
	if n.Blocks["immature"] != 1 || n.Blocks["replaced"] != 1 || n.Blocks["orphaned"] != 1 || n.Immature != 5 {
		t.Errorf("blocks %v, %d immature", n.Blocks, n.Immature)
	}
	if n.Payments["held"] != 1 || n.Payments["intent"] != 1 || n.Payments["confirmed"] != 1 || n.OldestPayment.IsZero() {
		t.Errorf("payments %v, oldest %s", n.Payments, n.OldestPayment)
	}
	// The balances above were not made by entries, and are out of balance by ten.
	if n.Liabilities != 1200 || n.Debts != 200 || n.Imbalance != 10 {
		t.Errorf("liabilities %d, debts %d, imbalance %d", n.Liabilities, n.Debts, n.Imbalance)
	}
}

func TestSizesNameTablesAndNoPartitions(t *testing.T) {
	db := ledgertest.New(t)
	store := db.Backend()
	if err := store.EnsurePartitions(t.Context(), time.Now(), map[int16]int32{1: 1000}); err != nil {
		t.Fatal(err)
	}
	sizes, err := store.NumbersStore().DatabaseSizes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if sizes.Bytes <= 0 || sizes.Connections < 1 || sizes.MaxConnections < sizes.Connections {
		t.Errorf("%+v", sizes)
	}
	if len(sizes.Tables) > 60 || sizes.Tables["share"] <= 0 || sizes.Tables["journal"] <= 0 {
		t.Errorf("%d tables: %v", len(sizes.Tables), sizes.Tables)
	}
}
