// Package grafana is what an operator looks at: dashboards for Grafana, and the
// configuration, recording rules and alert rules of Prometheus.
//
// The dashboards are written down in Go, where a panel is a line, and kept as
// JSON in dashboards/, where Grafana reads them; make dashboards writes them anew.
// What is installed is in dashboards/, provisioning/ and prometheus/ (README.md).
// A real Prometheus with a running pool answers every query (test/metrics).
package grafana

import (
	"bytes"
	"embed"
	"encoding/json"
	"io/fs"
)

//go:embed prometheus/prometheus.yml prometheus/rules
var files embed.FS

// Prometheus returns the configuration of Prometheus and its rules, as they lie
// in prometheus/.
func Prometheus() fs.FS {
	sub, err := fs.Sub(files, "prometheus")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// JSON writes a dashboard as Grafana reads it.
func (d *Dashboard) JSON() ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // queries are for people to read
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return text.Bytes(), err
}
