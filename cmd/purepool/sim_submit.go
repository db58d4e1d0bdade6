package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"purepool/sim/miner"
)

type simSubmitCmd struct {
	Pool     string `default:"http://127.0.0.1:8080" help:"The pool's URL."`
	Network  string `default:"main" help:"The network's name, as in the NetworkID header."`
	Miner    string `required:"" placeholder:"ADDRESS[/WORKER]" help:"The miner whose work it is."`
	ThreadID string `name:"thread" default:"0" help:"The thread's number."`
	File     string `arg:"" default:"-" help:"File with the solution, its 16 fields separated by commas; - reads standard input."`
}

// Help is printed below the flags.
func (c *simSubmitCmd) Help() string {
	return "Goes the way of every solution: the front desk, the queue, a validator. A solution that is known is rejected as such."
}

func (c *simSubmitCmd) Run(a *app) error {
	read := os.ReadFile
	if c.File == "-" {
		read = func(string) ([]byte, error) { return io.ReadAll(os.Stdin) }
	}
	text, err := read(c.File)
	if err != nil {
		return err
	}
	client, err := miner.NewClient(c.Pool)
	if err != nil {
		return err
	}
	answer, err := client.Do(a.ctx, &miner.Request{
		Action: "solution", Miner: c.Miner, Network: c.Network, Solution: strings.TrimSpace(string(text)), ThreadID: c.ThreadID,
	})
	if err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("the pool says: %s", oneLine(answer.Error, 200))
	}
	fmt.Fprintln(a.stdout, "the pool says: ok")
	return nil
}
