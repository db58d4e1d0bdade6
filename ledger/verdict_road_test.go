package ledger_test

import (
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/migrations"
	"purepool/ledger/pgcluster"
)

func TestRefusalStandsAlsoAmongMoreRefusalsThanTheBatchHasShares(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	began := time.Now()
	var refused []ledger.Verdict
	for n := range uint64(50) {
		v := rejected(t, 10, n, "WorkExpired")
		v.ReceivedAt = began.Add(time.Duration(n) * time.Millisecond)
		refused = append(refused, v)
	}
	write(t, back, refused...)
	// Judged again, two of them are good now; a third share is new.
	first, last, fresh := refused[0], refused[49], credited(t, 10, 100)
	first.Reason, last.Reason, fresh.ReceivedAt = "", "", began.Add(20*time.Millisecond)
	if got, want := write(t, back, first, last, fresh), (ledger.Written{Credited: 1, Redelivered: 2}); got != want {
		t.Fatalf("written %+v, want %+v", got, want)
	}
	checkRollUps(t, db)
}

// A proof that comes again fails a batch that takes all proofs for new; from then
// on batches are looked up first, for a while. Either way every share counts once.
func TestProofsThatComeAgainAreFoundOnEveryRoad(t *testing.T) {
	db := ledgertest.New(t)
	back := db.Backend()
	first := credited(t, 190, 0)
	write(t, back, first)
	for n := range uint64(200) { // more than lookingBatches, over a border of partitions
		again := credited(t, 190, 0)
		fresh := credited(t, 190+int32(n%20), 1000+n)
		want := ledger.Written{Credited: 1, Duplicates: 1, Redelivered: 1}
		if got := write(t, back, again, first, fresh); got != want {
			t.Fatalf("batch %d: written %+v, want %+v", n, got, want)
		}
	}
	checkRollUps(t, db)
}

// Partitions that were made before the backend copied into them get what that
// takes: its right, and the trigger that counts late shares.
func TestOldPartitionsOfSharesAreOpenedForCopying(t *testing.T) {
	db := ledgertest.New(t)
	owner, err := sqlx.Open("postgres", db.Super()+" search_path=purepool role=purepool_owner")
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	db.SQL(pgcluster.Superuser).MustExec("DROP SCHEMA purepool CASCADE; CREATE SCHEMA purepool AUTHORIZATION purepool_owner")
	old, err := goose.NewProvider(goose.DialectPostgres, owner.DB, migrations.Files,
		goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.UpTo(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	owner.MustExec("SELECT ensure_network('main'), ensure_share_partitions(1::smallint, 0, 399)")
	if err := ledger.Migrate(t.Context(), db.Super(), ledger.MigrateOptions{}); err != nil {
		t.Fatal(err)
	}
	owner.MustExec("UPDATE round SET counted_until = now() + interval '1 hour'") // all that comes now is late
	write(t, db.Backend(), credited(t, 199, 1), credited(t, 200, 2), credited(t, 400, 3))
	if n := ledgertest.Value[int64](t, db, "SELECT sum(shares) FROM round_weight"); n != 3 {
		t.Errorf("%d of 3 late shares are counted", n)
	}
}
