// Package bbprpc talks to the coin's daemon: BiblePay's, or a cousin of the
// Bitcoin family, over JSON-RPC 1.0 on HTTP. It knows no other package of this
// module but pool/chain.
//
// # Two kinds of errors
//
// Whatever goes wrong is one of two things, and a caller that mixes them up
// rejects honest shares or pays twice:
//
//   - The daemon said no: a [*DaemonError] with the daemon's code and message,
//     [ErrNoBibleHash] or [ErrBlockNotFound]. Asking again gives the same answer.
//   - The daemon is away: errors.Is(err, [ErrAway]). It could not be reached, was
//     too slow, is still starting, has a full work queue, refused the
//     credentials, or answered what cannot be understood. Nothing is known: wait
//     and ask again. The error is an [*AwayError], which names the daemon
//     (never its password) and says whether the call may have been executed.
//
// An answer of the wrong shape, or a fault inside the daemon, is "away", not "no": a
// share must not die of it. AwayError.Answered tells the call that alone goes
// wrong from the daemon that is gone.
// Of the daemon's refusals only those that speak about the share itself reject
// it: [CodeDeserialization] from hexblocktocoinbase. Others, such as
// [CodeMethodNotFound] from a daemon that is too new, speak about the daemon.
//
// bitcoind and its kin answer a call's error with HTTP 500 (404 where the method
// is unknown, 400 where the request is malformed) and a JSON body; a body that
// parses counts, the status then does not. While it starts, the daemon refuses
// every call with code -28; with its work queue full it answers HTTP 503; with
// wrong credentials, HTTP 401 after a pause of 250 ms; from a wrong address, 403.
//
// # Several daemons
//
// Endpoints are in order of preference. A call goes to the first that is up, and
// on to the next where that one is away. A daemon that is away is left alone for
// 250 ms, then twice as long each time, up to 5 s. [Client.Run] asks the daemons
// for their height in the background, which is how a preferred daemon is taken
// back; without Run, one that was left is asked again only when no other answers.
//
// A call that may have had an effect is never sent twice. Only calls known to be
// harmless (see [NewCall]) go on to the next daemon or the next connection; a
// payment does so only where it certainly was not executed (the connection was
// refused, the daemon was still starting, the credentials were wrong).
//
// # Amounts
//
// An [Amount] is an int64 of satoshis. It is read from and written to the digits
// of the JSON text; no float comes near it.
package bbprpc
