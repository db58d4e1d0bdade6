// Package pgcluster runs a private Postgres cluster: a database server of one's
// own, for the demo and for tests, from the binaries that are installed.
//
// The server listens on a unix socket in a folder that only its user may enter,
// and on no network. Connections are trusted: who can reach the socket is in.
//
// The server lives as long as the process that started it. It is stopped by
// Stop, and where the process dies without a word (SIGKILL) a small watchdog
// notices the closed pipe and stops the server. Should the watchdog die too,
// the next Start on the same folder finds what was left behind (a server that
// still runs, stale pid and lock files, a half-made cluster) and clears it away.
//
// Postgres refuses to run as root. Where the caller is root the server runs as
// the user "postgres", or "nobody" where there is none, and the folder belongs
// to that user.
//
// A folder holds:
//
//	data/          the cluster (PGDATA)
//	run/           the socket, unless its path would be too long (see Cluster.Host)
//	postgres.log   what the server says; one older file is kept
//	lock           held by the process that has the cluster open
package pgcluster
