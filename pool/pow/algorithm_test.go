package pow_test

import (
	"encoding/hex"
	"errors"
	"sync"
	"testing"

	"purepool/pool/pow"
)

// Headers whose proof of work is public knowledge: the genesis blocks of three
// coins and a block of BiblePay's test net of February 2018.
var vectors = []struct {
	name, algorithm, header, proof string
}{
	{
		"Dash genesis", "x11",
		"010000000000000000000000000000000000000000000000000000000000000000000000c762a6567f3cc092f0684bb62b7e00a84890b990f07cc71a6bb58d64b98e02e0022ddb52f0ff0f1ec23fb901",
		"00000ffd590b1485b3caadc19b22e6379c733355108f107a430458cdf3407ab6",
	},
	{
		"BiblePay test net 19310", "x11",
		"000000209928ce1b5ba829fde591237d3876df45daa2dd30ec31805b43dd6b972eae9aff3fab6ced6b34254aeb8c7f004cb82178984dbf22ea5c5316ac33ae6ec90ef17db3797b5aa5aa081d89370000",
		"4adfaf0c3ad50afecad53ad1e57340e9735bca7d104b2b3565835a346e1c6c96",
	},
	{
		"Bitcoin genesis", "sha256d",
		"0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d1dac2b7c",
		"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
	},
	{
		"Litecoin genesis, block hash", "sha256d",
		"010000000000000000000000000000000000000000000000000000000000000000000000d9ced4ed1130f7b7faad9be25323ffafa33232a17c3edf6cfd97bee6bafbdd97b9aa8e4ef0ff0f1ecd513f7c",
		"12a765e31ffd4059bada1e25190f6e98c99d9714d334efa41a195a7e7e04bfe2",
	},
	{
		"Litecoin genesis, proof of work", "scrypt",
		"010000000000000000000000000000000000000000000000000000000000000000000000d9ced4ed1130f7b7faad9be25323ffafa33232a17c3edf6cfd97bee6bafbdd97b9aa8e4ef0ff0f1ecd513f7c",
		"0000050c34a64b415b6b15b37f2216634b5b1669cb9a2e38d76f7213b0671e00",
	},
}

func TestAlgorithmsGiveTheKnownProofs(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			a, err := pow.AlgorithmByName(v.algorithm)
			if err != nil {
				t.Fatal(err)
			}
			header, _ := hex.DecodeString(v.header)
			hasher := a.NewHasher()
			for range 3 { // a hasher starts anew with every hash
				sum := hasher.Hash(header)
				if got := hex.EncodeToString(sum[:]); got != v.proof {
					t.Fatalf("%s = %s, want %s", a.Name(), got, v.proof)
				}
			}
		})
	}
}

func TestGenesisProofsMeetTheirOwnTargets(t *testing.T) {
	for _, v := range vectors {
		if v.name == "BiblePay test net 19310" || v.name == "Litecoin genesis, block hash" {
			continue // there this hash is not the proof of work
		}
		header, _ := hex.DecodeString(v.header)
		bits := uint32(header[72]) | uint32(header[73])<<8 | uint32(header[74])<<16 | uint32(header[75])<<24
		target, err := pow.TargetFromCompact(bits)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := pow.ParseNumber(v.proof)
		if err != nil {
			t.Fatal(err)
		}
		if !target.MetBy(proof) {
			t.Errorf("%s: %s is not below %s", v.name, v.proof, target)
		}
	}
}

func TestUnknownAlgorithmIsRefused(t *testing.T) {
	for _, name := range []string{"", "X11", "randomx"} {
		if _, err := pow.AlgorithmByName(name); !errors.Is(err, pow.ErrUnknownAlgorithm) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// The X11 library is unmaintained and full of tables; run with -race this shows
// that hashers share nothing they write to.
func TestHashersOfOneAlgorithmShareNoState(t *testing.T) {
	for _, name := range []string{"x11", "scrypt", "sha256d"} {
		a, err := pow.AlgorithmByName(name)
		if err != nil {
			t.Fatal(err)
		}
		pool := pow.NewPool(a)
		const workers, rounds = 8, 40
		want := make([][32]byte, rounds)
		one := a.NewHasher()
		for i := range want {
			want[i] = one.Hash(headerNumber(i))
		}
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				own := a.NewHasher()
				for i := range want {
					if own.Hash(headerNumber(i)) != want[i] || pool.Hash(headerNumber(i)) != want[i] {
						t.Errorf("%s: hash %d differs in parallel", name, i)
						return
					}
				}
			})
		}
		all.Wait()
	}
}

func headerNumber(i int) []byte {
	header := make([]byte, 80)
	header[76] = byte(i)
	return header
}

func TestX11AllocatesNothingPerHash(t *testing.T) {
	for _, a := range []pow.Algorithm{pow.X11(), pow.SHA256d()} {
		hasher, header := a.NewHasher(), make([]byte, 80)
		if n := testing.AllocsPerRun(20, func() { header[0] = hasher.Hash(header)[0] }); n != 0 {
			t.Errorf("%s: %v allocations per hash", a.Name(), n)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	for _, a := range []pow.Algorithm{pow.X11(), pow.Scrypt(), pow.SHA256d()} {
		b.Run(a.Name(), func(b *testing.B) {
			b.ReportAllocs()
			hasher, header := a.NewHasher(), make([]byte, 80)
			for b.Loop() {
				header[0] = hasher.Hash(header)[0]
			}
		})
	}
	b.Run("x11-pool", func(b *testing.B) {
		b.ReportAllocs()
		pool, header := pow.NewPool(pow.X11()), make([]byte, 80)
		for b.Loop() {
			header[0] = pool.Hash(header)[0]
		}
	})
}
