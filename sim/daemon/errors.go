package daemon

import "net/http"

// The daemon's error codes (bitcoin's rpc/protocol.h).
const (
	codeMisc           = -1
	codeType           = -3
	codeWallet         = -4
	codeAddressOrKey   = -5
	codeFunds          = -6
	codeParameter      = -8
	codeDecode         = -22
	codeWarmup         = -28
	codeInvalidRequest = -32600
	codeMethod         = -32601
	codeInternal       = -32603
	codeParse          = -32700
)

// rpcError is the error object of an answer.
type rpcError struct {
	code    int
	message string
}

func (e *rpcError) Error() string { return e.message }

// status is the HTTP status of a single call's error; a batch is always 200.
func (e *rpcError) status() int {
	switch e.code {
	case codeInvalidRequest:
		return http.StatusBadRequest
	case codeMethod:
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}
