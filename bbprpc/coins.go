package bbprpc

import (
	"context"
	"errors"

	"purepool/pool/chain"
)

// Coin is an output that the wallet can spend.
type Coin struct {
	TxID          chain.Hash
	Output        uint32
	Address       string
	Amount        Amount
	Confirmations int64
}

// SpendableCoins lists what the wallet can spend now, from minConf confirmations
// on; what its owner has locked (lockunspent) is not among it.
func (c *Client) SpendableCoins(ctx context.Context, minConf int) ([]Coin, error) {
	var answer []struct {
		TxID          *blockID `json:"txid"`
		Output        *uint32  `json:"vout"`
		Address       string   `json:"address"`
		Amount        *Amount  `json:"amount"`
		Confirmations integer  `json:"confirmations"`
		Spendable     bool     `json:"spendable"`
	}
	if err := c.Do(ctx, NewCall("listunspent", &answer, minConf)); err != nil {
		return nil, err
	}
	coins := make([]Coin, 0, len(answer))
	for _, u := range answer {
		if u.TxID == nil || u.Output == nil || u.Amount == nil {
			return nil, errors.New("a coin of the wallet has no transaction, number or amount")
		}
		if u.Spendable && u.Address != "" {
			coins = append(coins, Coin{chain.Hash(*u.TxID), *u.Output, u.Address, *u.Amount, int64(u.Confirmations)})
		}
	}
	return coins, nil
}

// SignSpend makes and signs a transaction that spends these coins to one address;
// what the amount leaves is the network's fee. It is handed to nobody. raw is in
// hex; its id is known before anybody has it.
func (c *Client) SignSpend(ctx context.Context, coins []Coin, to string, amount Amount) (raw string, txid chain.Hash, err error) {
	type input struct {
		TxID   string `json:"txid"`
		Output uint32 `json:"vout"`
	}
	inputs := make([]input, len(coins))
	for i := range coins {
		inputs[i] = input{coins[i].TxID.String(), coins[i].Output}
	}
	outputs, err := encodeOutputs([]Output{{to, amount}})
	if err != nil {
		return "", txid, err
	}
	if err := c.Do(ctx, NewCall("createrawtransaction", &raw, inputs, outputs)); err != nil {
		return "", txid, err
	}
	var signed struct {
		Hex      string `json:"hex"`
		Complete bool   `json:"complete"`
	}
	err = c.Do(ctx, NewCall("signrawtransactionwithwallet", &signed, raw))
	if IsCode(err, CodeMethodNotFound) { // before 0.17
		err = c.Do(ctx, NewCall("signrawtransaction", &signed, raw))
	}
	if err != nil {
		return "", txid, err
	}
	if !signed.Complete {
		return "", txid, errors.New("the wallet did not sign all of its own coins")
	}
	var decoded struct {
		TxID *blockID `json:"txid"`
	}
	if err := c.Do(ctx, NewCall("decoderawtransaction", &decoded, signed.Hex)); err != nil {
		return "", txid, err
	}
	if decoded.TxID == nil {
		return "", txid, errors.New("a transaction without an id")
	}
	return signed.Hex, chain.Hash(*decoded.TxID), nil
}

// HandIn hands a signed transaction, in hex, to the daemon and its network. Done
// again it is the same transaction. Refusals: those of [Client.Rebroadcast].
func (c *Client) HandIn(ctx context.Context, raw string) error {
	return c.Do(ctx, NewCall("sendrawtransaction", nil, raw))
}

// FeeRate is what the network takes for a transaction to be passed on, for every
// thousand bytes: the daemon's own rule, or what its wallet is set to where that
// is more.
func (c *Client) FeeRate(ctx context.Context) (Amount, error) {
	var network struct {
		Relay *Amount `json:"relayfee"`
	}
	var wallet struct {
		PayTxFee Amount `json:"paytxfee"`
	}
	if err := c.Do(ctx, NewCall("getnetworkinfo", &network)); err != nil {
		return 0, err
	}
	if network.Relay == nil || *network.Relay < 0 {
		return 0, errors.New("the daemon does not say what its network takes (relayfee)")
	}
	if err := c.Do(ctx, NewCall("getwalletinfo", &wallet)); err != nil {
		return 0, err
	}
	return max(*network.Relay, wallet.PayTxFee), nil
}
