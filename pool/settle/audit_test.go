package settle_test

import (
	"fmt"
	"testing"

	"purepool/pool/settle"
)

// W6.
func TestTheAuditOfAPoolWithoutBlocksIsCleanAndOwesNothing(t *testing.T) {
	w := newWorld(t, worldOptions{})
	audit := w.audit()
	if !audit.Clean || audit.Wallet.Owed != 0 || audit.Wallet.Missing != 0 || audit.Wallet.Coverage != settle.Covered {
		t.Errorf("%+v", audit)
	}
}

func TestTheAuditSaysWhatTheWalletLacks(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.share("anna", 1)
	w.find("anna", 100)
	if a := w.audit(); a.Totals.Immature != 100 || a.Wallet.Owed != 0 {
		t.Errorf("before the share-out: %+v", a)
	}
	w.strangers(3)
	w.settle()
	if a := w.audit(); !a.Clean || a.Wallet.Owed != 100 {
		t.Errorf("after it: %+v", a)
	}
	w.wallet.spent = 40 // somebody has taken coins
	if a := w.audit(); a.Clean || a.Wallet.Missing != 40 || a.Wallet.Coverage != settle.Short {
		t.Errorf("with 40 missing: %+v", a.Wallet)
	}
	w.wallet.err = away(false)
	if a := w.audit(); a.Clean || a.Wallet.Coverage != settle.CoverageUnknown {
		t.Errorf("without the wallet: %+v", a.Wallet)
	}
}

func TestAPaymentThatIsMadeDuringTheAuditIsNothingThatLacks(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.credit("anna", 5*coin)
	w.wallet.asked = func() { // after the books were read, before the wallet is
		w.wallet.asked = nil
		w.pay()
		w.strangers(3)
		w.pay()
	}
	if a := w.audit(); !a.Clean || a.Wallet.Coverage != settle.Covered || a.Wallet.Owed != 0 || a.Totals.Paid != 5*coin {
		t.Errorf("%+v %+v", a.Wallet, a.Totals)
	}
	// Where it is missing for good, audits end.
	w.credit("anna", 5*coin)
	w.wallet.spent += 3 * coin
	if a := w.audit(); a.Clean || a.Wallet.Coverage != settle.Short || a.Wallet.Missing != 3*coin {
		t.Errorf("with 3 coins missing: %+v", a.Wallet)
	}
}

// P20: a balance is what its entries say, or the audit tells.
func TestTheAuditFindsWhatDoesNotAddUp(t *testing.T) {
	for _, damage := range []struct{ check, sql string }{
		{"balances equal their entries", "UPDATE balance SET amount = amount + 1 WHERE account_id = (SELECT min(id) FROM account WHERE kind = 'miner')"},
		{"every credited share counts in one round", "UPDATE round_weight SET weight = weight + 1"},
		{"every credited share counts in one round", "DELETE FROM share WHERE weight = 3"},
		{"rounds follow one another without a gap", "UPDATE round SET from_at = from_at + interval '1 second' WHERE state = 'open'"},
		{"one round is open", "DELETE FROM round WHERE state = 'open'"},
		{"shared out blocks are credited once and in full", "UPDATE block SET reward = reward + 1"},
		{"shared out blocks are credited once and in full", "UPDATE block SET state = 'orphaned'"},
		{"paid rounds were paid by a block that stands", "UPDATE block SET state = 'orphaned'"},
		{"reserved amounts are those of unfinished payments", "INSERT INTO payment (network_id, tag) VALUES (1, 'x'); INSERT INTO payment_item (payment_id, miner_id, address, amount) SELECT p.id, m.id, m.address, 5 FROM payment p, miner m WHERE m.id = 1"},
		{"payments stand in the journal as they are", "INSERT INTO payment (network_id, tag, state) VALUES (1, 'x', 'confirmed')"},
	} {
		t.Run(damage.check, func(t *testing.T) {
			w := newWorld(t, worldOptions{})
			w.share("anna", 3)
			w.find("ben", 100)
			w.strangers(3)
			w.settle()
			w.audit()
			if _, err := w.super.Exec("SET session_replication_role = replica; " + damage.sql); err != nil {
				t.Fatal(err)
			}
			audit, err := w.auditor.Audit(t.Context())
			if err != nil || audit.Clean {
				t.Fatalf("clean: %v, %v", audit.Clean, err)
			}
			for _, c := range audit.Checks {
				if c.Name == damage.check && c.Faults > 0 && c.Detail != "" {
					return
				}
			}
			t.Errorf("not found: %s", fmt.Sprint(audit.Checks))
		})
	}
}
