// Package pow knows proofs of work: targets, their compact form, how many hashes
// a share stands for, and the hash functions behind them. It is pure and imports
// no other package of this module.
//
// Every 256-bit number here is a [32]byte, most significant byte first: the
// order in which it is printed and in which bytes.Compare compares numbers. A
// chain.Hash is the reverse of it; see chain.Hash.Display.
package pow
