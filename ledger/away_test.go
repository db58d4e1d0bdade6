package ledger_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"golang.org/x/sync/errgroup"

	"purepool/ledger"
	"purepool/ledger/ledgertest"
	"purepool/ledger/pgcluster"
)

func TestErrorsAreSorted(t *testing.T) {
	code := func(c string) error {
		return fmt.Errorf("wrapped: %w", &pq.Error{Code: pqerror.Code(c), Constraint: "x"})
	}
	for _, c := range []struct {
		err           error
		away, refused bool
	}{
		{nil, false, false},
		{context.Canceled, false, false},
		{context.DeadlineExceeded, true, false},
		{driver.ErrBadConn, true, false},
		{sql.ErrConnDone, true, false},
		{io.ErrUnexpectedEOF, true, false},
		{fmt.Errorf("dial: %w", syscall.ECONNREFUSED), true, false},
		{sql.ErrNoRows, false, false},
		{errors.New("something"), false, false},
		{ledger.ErrBadText, false, true},
		{ledger.ErrBadRow, false, true},
		{code("08006"), true, false},                           // connection failure
		{code("53100"), true, false},                           // disk full
		{code("53300"), true, false},                           // too many connections
		{code("57P01"), true, false},                           // shut down
		{code("57P03"), true, false},                           // starting up
		{code("57014"), true, false},                           // cancelled, statement_timeout
		{code("40001"), true, false},                           // serialization failure
		{code("40P01"), true, false},                           // deadlock
		{code("55P03"), true, false},                           // lock_timeout
		{code("25006"), true, false},                           // a standby
		{code("58030"), true, false},                           // I/O error
		{code("22001"), false, true},                           // too long
		{code("22021"), false, true},                           // not UTF-8
		{code("23505"), false, true},                           // unique
		{code("23514"), false, true},                           // check
		{code("42501"), false, false},                          // no right: the installation
		{code("42P01"), false, false},                          // no table: the installation
		{code("28P01"), false, false},                          // wrong password: the installation
		{&pq.Error{Code: "23514", Table: "work"}, true, false}, // no partition yet
		{errors.Join(context.Canceled, code("57014")), false, false},
	} {
		if away, refused := ledger.Away(c.err), ledger.Refused(c.err); away != c.away || refused != c.refused {
			t.Errorf("%v: away %v, refused %v", c.err, away, refused)
		}
	}
}

func TestDatabaseThatIsNotThereIsAway(t *testing.T) {
	cluster := startDurable(t)
	front := openFrontend(t, cluster.DSN(ledger.RoleFrontend, "pool"), ledger.Options{})
	worker, err := front.EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Halt(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"ping":   func() error { return front.Ping(t.Context()) },
		"worker": func() error { _, err := front.EnsureWorker(t.Context(), mainNet, "B1", "rig", ""); return err },
		"works": func() error {
			return front.InsertWorks(t.Context(), []ledger.Work{{ID: newID(t), IssuedAt: time.Now()}})
		},
		"lookup":  func() error { _, err := front.IssuedWorks(t.Context(), 1, []uuid.UUID{newID(t)}); return err },
		"version": func() error { return front.CheckVersion(t.Context()) },
	} {
		at := time.Now()
		if err := call(); !ledger.Away(err) || ledger.Refused(err) {
			t.Errorf("%s: %v", name, err)
		}
		if time.Since(at) > 5*time.Second {
			t.Errorf("%s took %v to notice", name, time.Since(at))
		}
	}
	if err := cluster.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It works again by itself, with the connections that were broken.
	waitUntil(t, "the store finds the database again", func() bool {
		again, err := front.EnsureWorker(t.Context(), mainNet, someAddress, "rig", "")
		return err == nil && again == worker
	})
}

func TestDatabaseThatHangsIsAwayInTime(t *testing.T) {
	cluster := startDurable(t)
	back := openBackend(t, cluster.DSN(ledger.RoleBackend, "pool"), ledger.Options{CallTimeout: time.Second, MaxOpen: 2})
	write(t, back, credited(t, 10, 1))
	pids := serverProcesses(t, cluster)
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	wake := func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	defer wake()
	at := time.Now()
	_, err := back.WriteVerdicts(t.Context(), mainNet, []ledger.Verdict{credited(t, 10, 2)})
	if !ledger.Away(err) {
		t.Errorf("write: %v", err)
	}
	// The call's own second, and 2 more for the driver to be torn loose, twice.
	if took := time.Since(at); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	wake()
	waitUntil(t, "the store writes again", func() bool {
		_, err := back.WriteVerdicts(t.Context(), mainNet, []ledger.Verdict{credited(t, 10, 3)})
		return err == nil
	})
}

// serverProcesses returns the postmaster and all its children.
func serverProcesses(t *testing.T, cluster *pgcluster.Cluster) []int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Dir(), "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pids := []int{}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		name := filepath.Base(filepath.Dir(stat))
		if fields := strings.Fields(rest); name == first || len(fields) > 1 && fields[1] == first {
			pid, _ := strconv.Atoi(name)
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestNothingIsLostOrDoubledWhenTheDatabaseDiesUnderLoad has validators write
// and frontends issue while the server is restarted and killed. Whatever was
// answered is there, and trying again after a lost answer doubles nothing.
func TestNothingIsLostOrDoubledWhenTheDatabaseDiesUnderLoad(t *testing.T) {
	cluster := startDurable(t)
	const writers, size = 3, 40
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group errgroup.Group
	answered := make([][]ledger.Verdict, writers)
	issued := make([][]uuid.UUID, writers)
	for i := range writers {
		back := openBackend(t, cluster.DSN(ledger.RoleBackend, "pool"), ledger.Options{MaxOpen: 2})
		front := openFrontend(t, cluster.DSN(ledger.RoleFrontend, "pool"), ledger.Options{MaxOpen: 2})
		group.Go(func() error {
			for n := uint64(0); ctx.Err() == nil; n++ {
				batch := make([]ledger.Verdict, size)
				for j := range batch {
					// Every fourth proof is one that another writer has too.
					batch[j] = credited(t, int32(100+i), n*size+uint64(j))
					if j%4 == 0 {
						batch[j].Height = 7
					}
					if j%10 == 0 {
						batch[j].Reason = "HashTargetExceeded"
					}
				}
				for {
					_, err := back.WriteVerdicts(t.Context(), mainNet, batch)
					if err == nil {
						break
					}
					if !ledger.Away(err) {
						return err
					}
					time.Sleep(20 * time.Millisecond)
				}
				answered[i] = append(answered[i], batch...)
			}
			return nil
		})
		group.Go(func() error {
			for ctx.Err() == nil {
				work := ledger.Work{ID: newID(t), NetworkID: mainNet, WorkerID: 1, IssuedAt: time.Now()}
				err := front.InsertWorks(t.Context(), []ledger.Work{work})
				if err == nil {
					issued[i] = append(issued[i], work.ID)
				} else if !ledger.Away(err) {
					return err
				} else {
					time.Sleep(20 * time.Millisecond)
				}
			}
			return nil
		})
	}
	for _, end := range []func() error{
		cluster.Kill,
		func() error { return cluster.Halt(t.Context()) },
		cluster.Kill,
		func() error { return nil },
	} {
		time.Sleep(400 * time.Millisecond) // some load before each end
		if err := end(); err != nil {
			t.Error(err)
		}
		if err := cluster.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	db, err := sqlx.Open("postgres", cluster.DSN(pgcluster.Superuser, "pool")+" search_path=purepool")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	there := map[uuid.UUID]int{}
	for _, query := range []string{"SELECT id FROM share", "SELECT id FROM rejected_share", "SELECT id FROM work"} {
		var ids []uuid.UUID
		if err := db.Select(&ids, query); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			there[id]++
		}
	}
	var shares, works int
	for i := range writers {
		shares, works = shares+len(answered[i]), works+len(issued[i])
		for _, v := range answered[i] {
			if there[v.ShareID] != 1 {
				t.Errorf("share %s stands in the ledger %d times", v.ShareID, there[v.ShareID])
			}
		}
		for _, id := range issued[i] {
			if there[id] != 1 {
				t.Errorf("work %s stands in the ledger %d times", id, there[id])
			}
		}
	}
	var fits bool
	err = db.Get(&fits, `SELECT
		(SELECT sum(shares) FROM share_minute) = (SELECT count(*) FROM share) AND
		(SELECT sum(rejected) FROM share_minute) = (SELECT count(*) FROM rejected_share) AND
		(SELECT sum(shares) + sum(rejected) FROM network_minute) = (SELECT count(*) FROM share) + (SELECT count(*) FROM rejected_share) AND
		(SELECT sum(rejected) FROM reject_hour) = (SELECT count(*) FROM rejected_share)`)
	if err != nil || !fits {
		t.Errorf("the roll-ups do not fit (%v)", err)
	}
	t.Logf("%d shares and %d works over four ends of the server", shares, works)
}

func TestSettingsOfTheStoresHold(t *testing.T) {
	db := ledgertest.New(t)
	for _, dsn := range []string{"nonsense", "postgres://%zz", "host=/x sslmode=maybe"} {
		if _, err := ledger.OpenFrontend(t.Context(), dsn, ledger.Options{}); err == nil {
			t.Errorf("connection string %q was taken", dsn)
		}
	}
	back := openBackend(t, db.BackendDSN(), ledger.Options{MaxOpen: 3})
	var group errgroup.Group
	for range 20 {
		group.Go(func() error { return back.Ping(t.Context()) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, "pg_stat_activity WHERE application_name = 'purepool-backend' AND datname = current_database()"); n < 1 || n > 3 {
		t.Errorf("%d connections, want up to 3", n)
	}
}
