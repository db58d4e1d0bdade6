package tip

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestWordOfANewTipReachesAllWhoListen(t *testing.T) {
	f := NewFeed("n", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	var mu sync.Mutex
	var heard [3]int
	for i := range heard {
		f.Listen(func() { mu.Lock(); defer mu.Unlock(); heard[i]++ })
	}
	p := f.Publisher("a")
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { f.Tell(SourceNotify) })
		all.Go(func() { p.Tell([32]byte{1}) })
	}
	all.Wait()
	if heard != [3]int{20, 20, 20} {
		t.Errorf("heard %v", heard)
	}
	if testutil.ToFloat64(f.words.WithLabelValues(SourceZMQ)) != 10 || testutil.ToFloat64(f.words.WithLabelValues(SourceNotify)) != 10 {
		t.Error("words are not counted by their sources")
	}
}

func TestPublisherThatTellsNothingIsNoticed(t *testing.T) {
	f := NewFeed("n", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	good, mute := f.Publisher("good"), f.Publisher("mute")
	missed := func(name string) float64 { return testutil.ToFloat64(f.missed.WithLabelValues(name)) }
	for n := byte(1); n <= 10; n++ {
		if n%2 == 0 { // before and after the tip is found by asking
			good.Tell([32]byte{n})
		}
		f.Confirm([32]byte{n})
		f.Confirm([32]byte{n})
		good.Tell([32]byte{n})
	}
	if missed("good") != 0 || missed("mute") != 9 || mute.missed != 9 || good.missed != 0 {
		t.Errorf("%v tips missed by the good publisher, %v of 9 by the mute one", missed("good"), missed("mute"))
	}
	mute.Gap() // its connection was lost: what came meanwhile is nothing to wonder at
	f.Confirm([32]byte{11})
	if missed("mute") != 9 {
		t.Error("a publisher is blamed for what came before it was listened to")
	}
	mute.Tell([32]byte{11})
	f.Confirm([32]byte{12})
	if missed("mute") != 9 || mute.missed != 0 {
		t.Error("a publisher that speaks again still counts as silent")
	}
}
