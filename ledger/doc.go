// Package ledger is the pool's memory: Postgres, through sqlx and lib/pq.
//
// It holds the migrations, the database roles with their grants, one store per
// role, and the books. A store can do what its role may do and nothing else;
// what a role may not do, Postgres refuses, whatever the code says:
//
//   - [FrontendStore] faces the internet: it reads miners, workers and issued
//     works, and adds new ones. It changes and deletes nothing.
//   - [BackendStore] writes verdicts, tips and the books, and keeps partitions.
//   - The web role reads the views named pool_…, in which there are no IP
//     addresses and no e-mail addresses.
//
// All times are UTC, all hashes and targets 32 bytes big-endian (display order,
// so that comparing bytes compares numbers), all money is int64 satoshis.
//
// Every method is safe for concurrent use and returns the driver's errors
// wrapped. [Away] says whether to wait and try again; [Refused] says that the
// database has looked at the data and will never take it; anything else is a
// fault of the installation (a missing grant, a missing table) and is worth an
// alarm and a retry, never a rejected share.
package ledger
