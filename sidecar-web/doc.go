// Package web is the face of the pool: pages for miners and visitors, a JSON
// API, and numbers that move while one looks.
//
// It reads the ledger with the role purepool_web, which can read views without
// secrets and nothing else, and it counts nothing: everything comes from
// roll-ups. What was read is kept for seconds and read again by one visitor for
// all (memo); a page that was written is kept with its compressed form and its
// ETag (pageCache). A database that is away leaves the last known numbers, with
// their age.
//
// Pages are written on the server and need no JavaScript. Scripts, where they
// run, draw charts that can be touched and keep numbers moving, from one stream
// for each visitor and one query for all of them (hub). Nothing is loaded from
// another host, and the content security policy allows nothing inline.
//
// The addresses of the original are kept: /, /{network}/, /{network}/howtojoin/,
// /{network}/statistics, /{network}/miner/{address}/, /{network}/api/statistics
// and /{network}/api/block_subsidysum/{days}.
package web
