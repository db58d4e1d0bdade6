//go:build !race

package stratum_test

// idleBound is what an idle authorized connection may cost in resident bytes.
const idleBound = 4096
