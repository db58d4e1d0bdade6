//go:build race

package stratum_test

// idleBound is what an idle authorized connection may cost in resident bytes;
// under the race detector everything costs several times as much.
const idleBound = 5 * 4096
