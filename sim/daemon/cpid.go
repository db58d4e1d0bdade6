package daemon

import (
	"encoding/hex"
	"strings"

	"purepool/pool/chain"
)

// IllegalCPID is the CPID that has just solved a block and so must not solve the
// next one: its signature is valid, its use is not legal.
const IllegalCPID = "ffffffffffffffffffffffffffffffff"

// SignCPID makes the text of a <cpidsig>: a stand-in for the signature with which
// a miner of 2018 proved his CPID (the id of his work for distributed computing,
// 32 hex digits). As in the client, the CPID is its first part; the rest is
// the address and the double SHA-256 of both in place of a signature.
func SignCPID(cpid, address string) string {
	sum := chain.DoubleSHA256([]byte("purepool simulated cpid;" + cpid + ";" + address))
	return cpid + ";" + address + ";" + hex.EncodeToString(sum[:16])
}

// CPIDMode is how the daemon judges the CPID signature of a coinbase.
type CPIDMode string

// The modes.
const (
	// CPIDCheck, the default, checks the signatures that there are. A coinbase
	// without one passes, as it did before CPIDs were asked for.
	CPIDCheck CPIDMode = ""
	// CPIDOutdated is a daemon before 1.1.1.1c, which has no cpid_… keys.
	CPIDOutdated CPIDMode = "outdated"
	// CPIDInvalid finds no signature valid.
	CPIDInvalid CPIDMode = "invalid"
	// CPIDIllegal finds every signature valid, and no CPID allowed to mine.
	CPIDIllegal CPIDMode = "illegal"
)

// The reasons that the daemon gives.
const (
	narrInvalid = "CPID_SIGNATURE_INVALID"
	narrIllegal = "CPID_SOLVED_RECENT_BLOCK"
)

// judgeCPID judges a coinbase message.
func judgeCPID(mode CPIDMode, message []byte) (valid, legal bool, narr string) {
	switch mode {
	case CPIDInvalid:
		return false, false, narrInvalid
	case CPIDIllegal:
		return true, false, narrIllegal
	}
	sig := chain.Tag(message, "cpidsig")
	if sig == nil {
		return true, true, ""
	}
	parts := strings.SplitN(string(sig), ";", 3)
	if len(parts) != 3 || string(sig) != SignCPID(parts[0], parts[1]) {
		return false, false, narrInvalid
	}
	if parts[0] == IllegalCPID {
		return true, false, narrIllegal
	}
	return true, true, ""
}
