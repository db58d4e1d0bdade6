// Package hosts sets up the pool of docs/INSTALL.md on servers of their own, with
// the scripts of deploy/ from a release's archive, and takes them from it one by
// one.
//
// A server is a container of systemd-nspawn on this machine: a systemd of its own
// as process 1, so that the units of deploy/ run as they are, a file system of its
// own (this machine's, with what the server writes laid over it in memory), and a
// network namespace of its own on a bridge. Only the kernel and the processors are shared,
// and a server that is killed has no power failure: what was written is there.
//
// Needs root, for namespaces and mounts.
package hosts
