package daemon

import "fmt"

// simTemplate is simtemplate: what a classic miner's own node knows, see
// [Template]. No real daemon has this call.
func (d *Daemon) simTemplate(dst []byte) []byte {
	t := d.chain.Template()
	dst = appendInt(dst, `{"height":`, t.Height)
	dst = appendText(dst, `,"previousblockhash":`, t.PrevHash.String())
	dst = appendInt(dst, `,"previoustime":`, t.PrevTime)
	dst = appendInt(dst, `,"curtime":`, t.Time)
	dst = fmt.Appendf(dst, `,"bits":"%08x"`, t.Bits)
	return append(appendInt(dst, `,"coinbasevalue":`, t.CoinbaseValue), '}')
}

// adminCall answers what only the admin address knows:
//
//	simfault FAULT...   switches these faults on and all others off, see [ParseFault]
//	simmine COUNT       lets strangers find blocks; answers the height
//	simreorg DEPTH      replaces the last blocks, see [Chain.Reorg]; answers the tip
func (d *Daemon) adminCall(dst []byte, c *call) ([]byte, *rpcError) {
	switch c.method {
	case "simfault":
		list := make([]Fault, len(c.params))
		for i := range c.params {
			f, err := ParseFault(c.params[i].text())
			if err != nil {
				return dst, &rpcError{codeParameter, err.Error()}
			}
			list[i] = f
		}
		if err := d.SetFaults(list...); err != nil {
			return dst, &rpcError{codeMisc, err.Error()}
		}
		return append(dst, "null"...), nil
	case "simmine":
		count, failed := c.int(0)
		if failed != nil {
			return dst, failed
		}
		for range min(count, maxHistory) {
			d.chain.MineStranger()
		}
		return appendInt(dst, "", d.chain.Tip().Height), nil
	case "simreorg":
		depth, failed := c.int(0)
		if failed != nil {
			return dst, failed
		}
		return appendString(dst, d.chain.Reorg(int(depth)).Hash.String()), nil
	}
	return dst, &rpcError{codeMethod, "Method not found"}
}
