package page

import (
	"slices"
	"strings"
	"testing"
)

// Book is the blocks that a test has promised to run: all whose note says so. The
// test takes each as it comes to it, and is held to its promise in the end.
type Book struct {
	test string
	left []Block
}

// Open opens the book of a test, by the test's name, and sees to it that nothing
// is left in it when the test has passed.
func Open(t testing.TB, root string) *Book {
	t.Helper()
	pages, err := All(root, t.Errorf)
	if err != nil {
		t.Fatal(err)
	}
	b := &Book{test: t.Name()}
	for _, p := range pages {
		for _, block := range p.Blocks {
			if block.Note.RunBy == t.Name() {
				b.left = append(b.left, block)
			}
		}
	}
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		for _, block := range b.left {
			t.Errorf("%v says that this test runs it, and it was not run:\n%s", block, block.Text)
		}
	})
	return b
}

// Take returns the next block of a page, which must hold some words:
// whoever changes the page sees here whether the test still means the same.
func (b *Book) Take(t testing.TB, name, words string) Block {
	t.Helper()
	i := slices.IndexFunc(b.left, func(block Block) bool { return block.Page == name && strings.Contains(block.Text, words) })
	if i < 0 {
		t.Fatalf("%s has no block (any more) with %q that says: run by %s", name, words, b.test)
	}
	block := b.left[i]
	b.left = slices.Delete(b.left, i, i+1)
	return block
}
