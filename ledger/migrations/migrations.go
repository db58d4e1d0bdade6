// Package migrations holds the ledger's SQL: numbered migrations, which run
// once and only forwards, and the grants, which run after each of them.
package migrations

import "embed"

// Files holds the numbered migrations (goose's format).
//
//go:embed 0*.sql
var Files embed.FS

// Grants says what each role may do; it may be run any number of times.
//
//go:embed grants.sql
var Grants string
