// Command generate writes the dashboards as JSON into the folder that it is
// given: go run ./grafana/generate grafana/dashboards.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"purepool/grafana"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	for _, d := range grafana.Dashboards() {
		text, err := d.JSON()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, d.UID+".json"), text, 0o644); err != nil { //nolint:gosec // no secret
			return err
		}
	}
	return nil
}
