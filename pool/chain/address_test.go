package chain_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"purepool/pool/chain"
)

func networks() []chain.Network {
	return []chain.Network{
		chain.BiblePayMain(), chain.BiblePayTest(), chain.BiblePayRegtest(), chain.LitecoinRegtest(), chain.BitcoinRegtest(),
	}
}

func TestRealAddressesDecodeOnTheirNetwork(t *testing.T) {
	for _, c := range []struct {
		text    string
		network chain.Network
		kind    chain.AddressKind
	}{
		{"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", chain.BiblePayMain(), chain.PubKeyHash},
		{"BLYpMhrivkozk8Tz4CfFrrKYnDeiGTJYAb", chain.BiblePayMain(), chain.PubKeyHash},
		{"yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9", chain.BiblePayTest(), chain.PubKeyHash},
		{"yQRnSo2Fa4KofZdWVuTFqtYoxeTZqXYU7y", chain.BiblePayRegtest(), chain.PubKeyHash},
		{"mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", chain.BitcoinRegtest(), chain.PubKeyHash},
		{"2MzQwSSnBHWHqSAqtTVQ6v47XtaisrJa1Vc", chain.BitcoinRegtest(), chain.ScriptHash},
	} {
		a, err := chain.DecodeAddress(c.text, c.network)
		if err != nil || a.String() != c.text || a.Kind() != c.kind {
			t.Errorf("%s = %s (%d), %v", c.text, a, a.Kind(), err)
			continue
		}
		back, err := chain.ScriptAddress(a.PayScript(), c.network)
		if err != nil || back != a {
			t.Errorf("the script that pays %s pays %s, %v", a, back, err)
		}
	}
}

func TestABadAddressIsRefusedWithAReasonThatHelps(t *testing.T) {
	const good = "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH"
	for _, c := range []struct {
		text string
		kind chain.ErrorKind
		says string
	}{
		{"", chain.ErrAddressEmpty, "empty"},
		{"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTh", chain.ErrAddressChecksum, "mistyped"},
		{"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxU", chain.ErrAddressLength, "wrong length"},
		{"B91R", chain.ErrAddressLength, "too short"},
		{good + good, chain.ErrAddressLength, "too long"},
		{strings.Repeat("B", 1<<20), chain.ErrAddressLength, "too long"},
		{"O91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", chain.ErrAddressCharacter, `"O" at position 1`},
		{"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUT0", chain.ErrAddressCharacter, `"0" at position 34`},
		{"B91RjV9UoZa5qLNbWZ XJ42sFWbJCyxUTH", chain.ErrAddressCharacter, `" " at position 19`},
		{good + "\n", chain.ErrAddressCharacter, `"\n"`},
		{"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUT\x00", chain.ErrAddressCharacter, `"\x00"`},
		{"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUT\xff", chain.ErrAddressCharacter, `"\xff"`},
		{"B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxU\u00c4", chain.ErrAddressCharacter, `position 33`},
		{"yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9", chain.ErrAddressNetwork, "is a test address, this is the main network"},
		{"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", chain.ErrAddressNetwork, "another coin"},
	} {
		_, err := chain.DecodeAddress(c.text, chain.BiblePayMain())
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.40q: %v, want %s and %q", c.text, err, string(c.kind), c.says)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%.40q: the error has %d bytes", c.text, len(err.Error()))
		}
	}
	_, err := chain.DecodeAddress(good, chain.BiblePayTest())
	if !errors.Is(err, chain.ErrAddressNetwork) || !strings.Contains(err.Error(), "is a main address, this is the test network") {
		t.Errorf("%v", err)
	}
}

func TestEveryOneCharacterTypoIsCaught(t *testing.T) {
	const good = "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH"
	for i := range len(good) {
		for c := byte(' '); c < 0x7f; c++ {
			if c == good[i] {
				continue
			}
			typo := good[:i] + string(rune(c)) + good[i+1:]
			if a, err := chain.DecodeAddress(typo, chain.BiblePayMain()); err == nil {
				t.Errorf("%s was taken as %s", typo, a)
			}
		}
	}
}

func TestAddressesAndScriptsAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		network := rapid.SampledFrom(networks()).Draw(t, "network")
		kind := rapid.SampledFrom([]chain.AddressKind{chain.PubKeyHash, chain.ScriptHash}).Draw(t, "kind")
		hash := [20]byte(rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "hash"))
		a := chain.NewAddress(kind, hash, network)
		if b, err := chain.DecodeAddress(a.String(), network); err != nil || a != b || b.Hash160() != hash {
			t.Fatalf("%s became %s, %v", a, b, err)
		}
		if b, err := chain.ScriptAddress(a.PayScript(), network); err != nil || a != b {
			t.Fatalf("the script of %s pays %s, %v", a, b, err)
		}
	})
}

func TestOddScriptsPayNoAddress(t *testing.T) {
	good := chain.NewAddress(chain.PubKeyHash, [20]byte{1}, chain.BiblePayMain()).PayScript()
	for _, script := range [][]byte{
		nil, {}, good[:24], append([]byte{0x61}, good...), append(good[:24:24], 0xad), make([]byte, 25), make([]byte, 23), make([]byte, 35), make([]byte, 67),
	} {
		if a, err := chain.ScriptAddress(script, chain.BiblePayMain()); !errors.Is(err, chain.ErrScript) {
			t.Errorf("%x pays %s, %v", script, a, err)
		}
	}
	if (chain.Address{}).String() != "" || (chain.Address{}).PayScript() != nil {
		t.Error("the zero address can be paid")
	}
}

// The first output of Bitcoin's genesis block pays a bare key, whose address is
// known to everyone.
func TestAPublicKeyPaysItsAddress(t *testing.T) {
	script, _ := hex.DecodeString("4104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac")
	bitcoin := chain.Network{Name: "main", Coin: "Bitcoin", PubKeyHashVersion: 0, ScriptHashVersion: 5}
	if a, err := chain.ScriptAddress(script, bitcoin); err != nil || a.String() != "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa" {
		t.Errorf("%s, %v", a, err)
	}
}

func TestNetworksAreKnownByTheirExactNames(t *testing.T) {
	for _, name := range []string{"main", "test", "regtest"} {
		if n, err := chain.NetworkByName(name); err != nil || n.Name != name {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
	for _, name := range []string{"", "Main", "main ", "testnet"} {
		if _, err := chain.NetworkByName(name); !errors.Is(err, chain.ErrUnknownNetwork) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{
		"", "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", "yhVPf12UvK8zYgZwS6kLsPmtccHUQiD3Q9", "1111111111111111111114oLvT2",
		"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUT\x00", "Bé", "1111111111111111111111111111111111",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, n := range networks() {
			a, err := chain.DecodeAddress(text, n)
			if err == nil {
				if a.String() != text {
					t.Fatalf("%q is %q", text, a)
				}
				continue
			}
			var bad *chain.Error
			if !errors.As(err, &bad) || a != (chain.Address{}) {
				t.Fatalf("%q: %v, %v", text, a, err)
			}
			for _, c := range []byte(err.Error()) {
				if c < ' ' || c >= utf8.RuneSelf {
					t.Fatalf("the error text for %q holds %#x", text, c)
				}
			}
		}
	})
}

func BenchmarkDecodeAddress(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := chain.DecodeAddress("B91RjV9UoZa5qLNbWZFXJ42sFWbJCyxUTH", chain.BiblePayMain()); err != nil {
			b.Fatal(err)
		}
	}
}
