package bbprpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"purepool/pool/chain"
)

// The classic daemons are loose with types: the same field is a number in one
// version and a string in another. These types take both spellings of the same
// meaning and nothing else.

// unmarshalObject decodes a JSON object; null and everything else is an error.
func unmarshalObject(raw json.RawMessage, into any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		return errors.New("the result is no object")
	}
	return json.Unmarshal(raw, into)
}

// integer is a whole number, written as a number or in a string.
type integer int64

func (n *integer) UnmarshalJSON(raw []byte) error {
	v, err := strconv.ParseInt(unquote(raw), 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no whole number", printable(string(raw)))
	}
	*n = integer(v)
	return nil
}

// truth is true or false, bare or in a string.
type truth bool

func (t *truth) UnmarshalJSON(raw []byte) error {
	switch unquote(raw) {
	case "true":
		*t = true
	case "false":
		*t = false
	default:
		return fmt.Errorf("%q is neither true nor false", printable(string(raw)))
	}
	return nil
}

// text is a string, or a number as it is written.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		*t = text(raw)
		return nil
	}
	return json.Unmarshal(raw, (*string)(t))
}

// blockID is a hash as it is printed.
type blockID chain.Hash

func (id *blockID) UnmarshalJSON(raw []byte) error {
	var digits string
	if err := json.Unmarshal(raw, &digits); err != nil {
		return err
	}
	h, err := chain.ParseHash(digits)
	if err != nil {
		return err
	}
	*id = blockID(h)
	return nil
}

func intoHash(out *chain.Hash) func(json.RawMessage) error {
	return func(raw json.RawMessage) error { return json.Unmarshal(raw, (*blockID)(out)) }
}
