package stratum

import (
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"purepool/pool/job"
)

// Everything that is sent, appended to a buffer of the caller's. One line each,
// with its line feed.

func appendID(b, id []byte) []byte {
	b = append(b, `{"id":`...)
	if len(id) == 0 {
		return append(b, "null"...)
	}
	return append(b, id...)
}

// appendResult answers with a result that is JSON already.
func appendResult[T ~string | ~[]byte](b, id []byte, result T) []byte {
	b = appendID(b, id)
	b = append(b, `,"result":`...)
	b = append(b, result...)
	return append(b, ",\"error\":null}\n"...)
}

func appendError(b, id []byte, a answer) []byte {
	b = appendID(b, id)
	b = append(b, `,"result":null,"error":[`...)
	b = strconv.AppendInt(b, int64(a.code), 10)
	b = append(b, ',')
	b = appendText(b, a.text)
	return append(b, ",null]}\n"...)
}

// appendText appends a JSON string. What is no UTF-8 becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', digits[r>>4], digits[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

func appendHex32(b []byte, n uint32) []byte {
	return hex.AppendEncode(b, []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// appendSubscribed answers mining.subscribe: the subscriptions with the session's
// id, which begins with its extranonce1, extranonce1, and the size of extranonce2.
func appendSubscribed(b, id []byte, session [sessionIDSize]byte, size uint8) []byte {
	b = appendID(b, id)
	b = append(b, `,"result":[[["mining.set_difficulty","`...)
	b = hex.AppendEncode(b, session[:])
	b = append(b, `"],["mining.notify","`...)
	b = hex.AppendEncode(b, session[:])
	b = append(b, `"]],"`...)
	b = hex.AppendEncode(b, session[:job.Extranonce1Size])
	b = append(b, `",`...)
	b = strconv.AppendUint(b, uint64(size), 10)
	return append(b, "],\"error\":null}\n"...)
}

func appendSetDifficulty(b []byte, difficulty float64) []byte {
	b = append(b, `{"id":null,"method":"mining.set_difficulty","params":[`...)
	b = appendDifficulty(b, difficulty)
	return append(b, "]}\n"...)
}

// appendDifficulty writes a difficulty without an exponent where it can: some
// miners' parsers know none.
func appendDifficulty(b []byte, d float64) []byte {
	if d >= 1e-9 {
		return strconv.AppendFloat(b, d, 'f', -1, 64)
	}
	return strconv.AppendFloat(b, d, 'g', -1, 64)
}

func appendSetExtranonce(b []byte, x job.Extranonce1, size uint8) []byte {
	b = append(b, `{"id":null,"method":"mining.set_extranonce","params":["`...)
	b = hex.AppendEncode(b, x[:])
	b = append(b, `",`...)
	b = strconv.AppendUint(b, uint64(size), 10)
	return append(b, "]}\n"...)
}

func appendSetVersionMask(b []byte, mask uint32) []byte {
	b = append(b, `{"id":null,"method":"mining.set_version_mask","params":["`...)
	b = appendHex32(b, mask)
	return append(b, "\"]}\n"...)
}

// versionID is the id of client.get_version, the only request of ours whose answer
// means something.
const versionID = `"version"`

func appendGetVersion(b []byte) []byte {
	return append(b, `{"id":`+versionID+`,"method":"client.get_version","params":[]}`+"\n"...)
}

func appendShowMessage(b []byte, text string) []byte {
	b = append(b, `{"id":null,"method":"client.show_message","params":[`...)
	b = appendText(b, text)
	return append(b, "]}\n"...)
}

// appendReconnect sends a miner elsewhere after a while, or back to where it came
// from when there is no host.
func appendReconnect(b []byte, to DrainTarget, wait int) []byte {
	b = append(b, `{"id":null,"method":"client.reconnect","params":[`...)
	if to.Host != "" {
		b = appendText(b, to.Host)
		b = append(b, ',')
		b = strconv.AppendUint(b, uint64(to.Port), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(wait), 10)
	}
	return append(b, "]}\n"...)
}

// notifyHead and the texts behind it are mining.notify, cut where lines of the
// same job differ: at the job's number and at the clean flag.
const notifyHead = `{"id":null,"method":"mining.notify","params":["`

// appendNotifyBody appends everything between the job's number and the clean
// flag: the target that the job binds, if it binds one, which ends the number as
// the miner sees it; previous hash in eight byte-swapped words, the halves of the
// coinbase, merkle branches, version, bits and time.
func appendNotifyBody(b []byte, j *job.Job, target job.Bits) []byte {
	if j.BindsTarget {
		b = appendHex32(b, uint32(target))
	}
	b = append(b, `","`...)
	for word := 0; word < len(j.Prev); word += 4 {
		b = hex.AppendEncode(b, []byte{j.Prev[word+3], j.Prev[word+2], j.Prev[word+1], j.Prev[word]})
	}
	b = append(b, `","`...)
	b = hex.AppendEncode(b, j.Coinbase1)
	if j.BindsTarget {
		b = appendHex32(b, uint32(target))
	}
	b = append(b, `","`...)
	b = hex.AppendEncode(b, j.Coinbase2)
	b = append(b, `",[`...)
	for i := range j.Branches {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = hex.AppendEncode(b, j.Branches[i][:])
		b = append(b, '"')
	}
	b = append(b, `],"`...)
	b = appendHex32(b, j.Version)
	b = append(b, `","`...)
	b = appendHex32(b, j.Bits)
	b = append(b, `","`...)
	b = appendHex32(b, j.Time)
	return append(b, `",`...)
}

func appendNotify(b []byte, key uint64, body []byte, clean bool) []byte {
	b = append(b, notifyHead...)
	b = strconv.AppendUint(b, key, 16)
	b = append(b, body...)
	b = strconv.AppendBool(b, clean)
	return append(b, "]}\n"...)
}
