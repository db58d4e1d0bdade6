// Package soak runs the program for as long as it is told: frontend and backend
// in processes of their own, Postgres, an external broker that is killed and
// restarted, two litecoind nodes, honest and hostile miners that come and go. At the
// end every share that was answered `true` or `ok` must stand in the ledger, and
// memory, goroutines and files must have stayed where they were.
//
//	make soak                  thirty minutes, a house for each broker
//	make soak DURATION=10m
//
// `make test` runs the same code for a few seconds.
package soak
