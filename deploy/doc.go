// Package deploy holds what servers are set up with, and the tests of it.
package deploy
