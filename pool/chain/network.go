package chain

// Network is one chain as far as its addresses are concerned. Two networks with
// the same version bytes cannot be told apart by an address: BiblePay's test and
// regtest networks are such a pair.
type Network struct {
	// Name is the name in the protocol's NetworkID header and in the
	// configuration: main, test or regtest.
	Name string
	// Coin is the coin's name, for messages.
	Coin string
	// PubKeyHashVersion and ScriptHashVersion are the base58check version bytes
	// of pay-to-public-key-hash and pay-to-script-hash addresses.
	PubKeyHashVersion, ScriptHashVersion byte
}

// BiblePayMain is BiblePay's main network: addresses B… and 7….
func BiblePayMain() Network {
	return Network{Name: "main", Coin: "BiblePay", PubKeyHashVersion: 25, ScriptHashVersion: 16}
}

// BiblePayTest is BiblePay's test network: addresses y… and 8… or 9….
func BiblePayTest() Network {
	return Network{Name: "test", Coin: "BiblePay", PubKeyHashVersion: 140, ScriptHashVersion: 19}
}

// BiblePayRegtest is BiblePay's regression test network. Its addresses are those
// of the test network.
func BiblePayRegtest() Network {
	return Network{Name: "regtest", Coin: "BiblePay", PubKeyHashVersion: 140, ScriptHashVersion: 19}
}

// LitecoinRegtest is litecoind -regtest, a real daemon that stands in for a test
// chain. Only its base58 addresses are known here (getnewaddress "" legacy).
func LitecoinRegtest() Network {
	return Network{Name: "regtest", Coin: "Litecoin", PubKeyHashVersion: 111, ScriptHashVersion: 58}
}

// BitcoinRegtest is bitcoind -regtest, with the same restriction.
func BitcoinRegtest() Network {
	return Network{Name: "regtest", Coin: "Bitcoin", PubKeyHashVersion: 111, ScriptHashVersion: 196}
}

// NetworkByName returns the BiblePay network of this exact name: main, test or
// regtest. Error: [ErrUnknownNetwork].
func NetworkByName(name string) (Network, error) {
	for _, n := range biblePayNetworks() {
		if n.Name == name {
			return n, nil
		}
	}
	return Network{}, fail(ErrUnknownNetwork, "there is no network %+q; there are main, test and regtest", clip(name))
}

func biblePayNetworks() [3]Network {
	return [3]Network{BiblePayMain(), BiblePayTest(), BiblePayRegtest()}
}

// clip bounds what an error message repeats of its input.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
