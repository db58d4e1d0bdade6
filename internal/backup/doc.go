// Package backup writes down everything that a pool cannot make anew, and puts
// it back: the ledger through Postgres' own tools, and what is on its way to the
// ledger (the broker's backlog, frontends' spools, dead letters) or must outlive
// a process (the journal of found blocks).
//
// The order is the promise. A share moves from the spool to the broker to the
// ledger, so these are copied in that order: whatever moves meanwhile is in at
// least one copy, and the ledger drops what comes twice. A backup has its name
// only when it is whole, with a manifest that names every file and its checksum.
package backup
