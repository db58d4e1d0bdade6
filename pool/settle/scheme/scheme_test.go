package scheme_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"purepool/pool/settle/scheme"
)

func weights(pairs ...int64) (list []scheme.Weight) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, scheme.Weight{Miner: pairs[i], Hashes: big.NewInt(pairs[i+1])})
	}
	return list
}

func TestRewardIsDividedByTheKnownExamples(t *testing.T) {
	for _, test := range []struct {
		name    string
		reward  int64
		fee     scheme.Fee
		weights []scheme.Weight
		want    scheme.Division
	}{
		{
			"three equal shares of 1001 satoshis: the rest goes to the smaller ids", 1001, 0, weights(3, 5, 1, 5, 2, 5),
			scheme.Division{Credits: []scheme.Credit{{1, 334}, {2, 334}, {3, 333}}},
		},
		{"the largest fraction first", 10, 0, weights(1, 1, 2, 2, 3, 4), // 1.43 2.86 5.71
			scheme.Division{Credits: []scheme.Credit{{1, 1}, {2, 3}, {3, 6}}}},
		{
			"2.5 percent of 5492 coins is exact", 549_200_000_000, 2_500_000, weights(1, 1),
			scheme.Division{Fee: 13_730_000_000, Credits: []scheme.Credit{{1, 535_470_000_000}}},
		},
		{"a fee is rounded down", 3, 50_000_000, weights(1, 1), scheme.Division{Fee: 1, Credits: []scheme.Credit{{1, 2}}}},
		{"no shares: the pool keeps it", 1000, 10_000_000, nil, scheme.Division{Fee: 100, Unclaimed: 900}},
		{"one share", 7, 0, weights(9, 1), scheme.Division{Credits: []scheme.Credit{{9, 7}}}},
		{"more miners than satoshis", 2, 0, weights(1, 1, 2, 1, 3, 1), scheme.Division{Credits: []scheme.Credit{{1, 1}, {2, 1}}}},
		{"the pool takes all", 100, scheme.WholeFee, weights(1, 1), scheme.Division{Fee: 100}},
		{"nothing to divide", 0, 0, weights(1, 1), scheme.Division{}},
		{"a miner who stands there twice", 100, 0, weights(1, 1, 2, 2, 1, 1), scheme.Division{Credits: []scheme.Credit{{1, 50}, {2, 50}}}},
		{"one finder", 100, 0, scheme.SoloWeight(4), scheme.Division{Credits: []scheme.Credit{{4, 100}}}},
		{"no known finder", 100, 0, scheme.SoloWeight(0), scheme.Division{Unclaimed: 100}},
	} {
		got, err := scheme.Divide(test.reward, test.fee, test.weights)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %+v, %v; want %+v", test.name, got, err, test.want)
		}
	}
}

func TestImpossibleDivisionsAreErrors(t *testing.T) {
	for _, test := range []struct {
		reward  int64
		fee     scheme.Fee
		weights []scheme.Weight
		want    error
	}{
		{-1, 0, nil, scheme.ErrReward},
		{1, -1, nil, scheme.ErrFee},
		{1, scheme.WholeFee + 1, nil, scheme.ErrFee},
		{1, 0, weights(1, 0), scheme.ErrWeight},
		{1, 0, weights(1, -1), scheme.ErrWeight},
		{1, 0, []scheme.Weight{{Miner: 1}}, scheme.ErrWeight},
	} {
		if _, err := scheme.Divide(test.reward, test.fee, test.weights); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// drawWeights draws some miners, with repetitions; small totals and totals above
// 64 bits.
func drawWeights(t *rapid.T) []scheme.Weight {
	most := rapid.SampledFrom([]int64{1, 3, 1000, math.MaxInt64}).Draw(t, "most")
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) scheme.Weight {
		return scheme.Weight{
			Miner:  rapid.Int64Range(1, 40).Draw(t, "miner"),
			Hashes: big.NewInt(rapid.Int64Range(1, most).Draw(t, "hashes")),
		}
	}), 0, 60).Draw(t, "weights")
}

func TestEveryDivisionIsExactAndNeverNegativeAndWithinOneSatoshi(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		reward := rapid.SampledFrom([]int64{0, 1, 7, 549_200_000_000, math.MaxInt64}).Draw(t, "upto")
		reward = rapid.Int64Range(0, reward).Draw(t, "reward")
		fee := scheme.Fee(rapid.Int64Range(0, int64(scheme.WholeFee)).Draw(t, "fee"))
		list := drawWeights(t)
		d, err := scheme.Divide(reward, fee, list)
		if err != nil {
			t.Fatal(err)
		}
		sum := new(big.Int).SetInt64(d.Fee)
		sum.Add(sum, big.NewInt(d.Unclaimed))
		for i, c := range d.Credits {
			if c.Satoshis <= 0 || i > 0 && d.Credits[i-1].Miner >= c.Miner {
				t.Fatalf("credits %v", d.Credits)
			}
			sum.Add(sum, big.NewInt(c.Satoshis))
		}
		if sum.Cmp(big.NewInt(reward)) != 0 || d.Fee < 0 || d.Unclaimed < 0 || d.Unclaimed > 0 && len(list) > 0 {
			t.Fatalf("%d divided into %+v", reward, d)
		}
		checkFair(t, reward-d.Fee, list, d.Credits)
	})
}

// checkFair: each credit is the exact share, rounded down or up.
func checkFair(t *rapid.T, amount int64, list []scheme.Weight, credits []scheme.Credit) {
	total, own := new(big.Int), map[int64]*big.Int{}
	for _, w := range list {
		total.Add(total, w.Hashes)
		if own[w.Miner] == nil {
			own[w.Miner] = new(big.Int)
		}
		own[w.Miner].Add(own[w.Miner], w.Hashes)
	}
	got := map[int64]int64{}
	for _, c := range credits {
		got[c.Miner] = c.Satoshis
	}
	for miner, hashes := range own {
		exact := new(big.Int).Mul(big.NewInt(amount), hashes)
		low := new(big.Int).Quo(exact, total).Int64()
		if got[miner] != low && got[miner] != low+1 {
			t.Fatalf("miner %d gets %d of %d, exactly %d and a fraction", miner, got[miner], amount, low)
		}
	}
}

func TestADivisionDoesNotDependOnTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawWeights(t)
		amount := rapid.Int64Range(0, 1<<40).Draw(t, "amount")
		first, err := scheme.Split(amount, list)
		if err != nil {
			t.Fatal(err)
		}
		second, err := scheme.Split(amount, rapid.Permutation(list).Draw(t, "order"))
		if err != nil || !slices.Equal(first, second) {
			t.Fatalf("%v and %v, %v", first, second, err)
		}
	})
}

func TestSmallAndLargeTotalsDivideAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawWeights(t)
		amount := rapid.Int64Range(0, 1<<50).Draw(t, "amount")
		scaled := make([]scheme.Weight, len(list))
		for i, w := range list { // the same proportions, far above 64 bits
			scaled[i] = scheme.Weight{Miner: w.Miner, Hashes: new(big.Int).Lsh(w.Hashes, 90)}
		}
		first, err1 := scheme.Split(amount, list)
		second, err2 := scheme.Split(amount, scaled)
		if err1 != nil || err2 != nil || !slices.Equal(first, second) {
			t.Fatalf("%v and %v", first, second)
		}
	})
}

func TestAMillionMinersGetTheWholeReward(t *testing.T) {
	list := manyMiners(1_000_000)
	credits, err := scheme.Split(549_200_000_000, list)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, c := range credits {
		sum += c.Satoshis
	}
	if sum != 549_200_000_000 {
		t.Errorf("%d satoshis were given", sum)
	}
}

func manyMiners(n int) []scheme.Weight {
	list := make([]scheme.Weight, n)
	for i := range list {
		list[i] = scheme.Weight{Miner: int64(i) + 1, Hashes: big.NewInt(65536 * int64(i%97+1))}
	}
	return list
}

func TestTheWindowIsAMultipleOfTheNetworksDifficulty(t *testing.T) {
	for _, test := range []struct {
		network, factor, want int64
	}{{1000, 2000, 2000}, {1000, 500, 500}, {1, 1, 1}, {0, 5000, 1}} {
		if got := scheme.Window(big.NewInt(test.network), test.factor); got.Int64() != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		list := manyMiners(n)
		b.Run(fmt.Sprintf("miners=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := scheme.Split(549_200_000_000, list); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
