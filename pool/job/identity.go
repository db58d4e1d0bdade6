package job

import (
	"crypto/sha256"
	"encoding/binary"
)

// Identity returns the 16 bytes, in the form of a UUID of version 8, by which the
// ledger knows a share. They follow from what the share claims (network, job,
// header, target, worker) and from nothing else: whoever hands it in again, over
// whichever frontend, hands in the same share, and it counts once. The moment of
// its arrival does not belong to it: a miner that had no answer sends its share
// again later.
func Identity(network string, s *Share) (id [16]byte) {
	b := make([]byte, 0, 96)
	b = append(b, network...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, s.Job)
	b = append(b, s.Found.Extranonce1[:]...)
	b = append(b, s.Found.Extranonce2[:]...)
	b = append(b, s.Found.Extranonce2Size)
	b = binary.BigEndian.AppendUint32(b, s.Found.Time)
	b = binary.BigEndian.AppendUint32(b, s.Found.Nonce)
	b = binary.BigEndian.AppendUint32(b, s.Found.VersionBits)
	b = binary.BigEndian.AppendUint32(b, uint32(s.Target))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Worker))
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	return version8(id)
}

// WorkID returns the job's number in the form of a UUID of version 8, for where
// the ledger keeps the work of a share.
func WorkID(seq uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[8:], seq&MaxSeq)
	return version8(id)
}

func version8(id [16]byte) [16]byte {
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
