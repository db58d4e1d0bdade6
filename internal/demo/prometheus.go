package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"purepool/grafana"
)

// watched plays with a Prometheus beside, where that is asked for; it ends with
// the play. Should it end before, so does the play.
func (d *demo) watched(ctx context.Context, play func(context.Context) error) error {
	if !d.opts.Prometheus {
		return play(ctx)
	}
	d.say("starting Prometheus ...")
	ctx, endPlay := context.WithCancelCause(ctx)
	defer endPlay(nil)
	// It outlives the play, so that it sees its end.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server, err := d.startPrometheus(own)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := server.Wait()
		if own.Err() == nil {
			err = fmt.Errorf("prometheus ended by itself, see %s: %w", d.prometheusPath("prometheus.log"), err)
		} else {
			err = nil
		}
		endPlay(err)
		ended <- err
	}()
	if err = d.prometheusReady(ctx); err == nil {
		err = play(ctx)
	}
	stop()
	return errors.Join(err, <-ended)
}

func (d *demo) prometheusPath(name string) string {
	return filepath.Join(d.opts.Dir, "prometheus", name)
}

// startPrometheus starts the server on the rules that this program carries.
func (d *demo) startPrometheus(ctx context.Context) (*exec.Cmd, error) {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, fmt.Errorf("prometheus is not installed (make demo-full installs it; on Debian: apt-get install prometheus): %w", err)
	}
	if d.prometheus, err = freeAddress(ctx, "127.0.0.1:9090"); err != nil {
		return nil, err
	}
	if err := d.writePrometheus(); err != nil {
		return nil, err
	}
	log, err := os.Create(d.prometheusPath("prometheus.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	cmd := exec.CommandContext(ctx, binary,
		"--config.file="+d.prometheusPath("prometheus.yml"), "--storage.tsdb.path="+d.prometheusPath("data"),
		"--web.listen-address="+d.prometheus, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	cmd.SysProcAttr = besideUs()
	return cmd, cmd.Start()
}

// writePrometheus writes the configuration and the rules as an operator would
// install them, at the demo's pace, and names the demo as the only target.
func (d *demo) writePrometheus() error {
	every := "5s"
	if d.opts.Fast {
		every = "1s"
	}
	err := fs.WalkDir(grafana.Prometheus(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return errors.Join(err, os.MkdirAll(d.prometheusPath(name), 0o755))
		}
		text, err := fs.ReadFile(grafana.Prometheus(), name)
		if err != nil {
			return err
		}
		if name == "prometheus.yml" {
			text = []byte(strings.NewReplacer("_interval: 15s", "_interval: "+every, "scrape_timeout: 10s", "scrape_timeout: "+every).Replace(string(text)))
		}
		return os.WriteFile(d.prometheusPath(name), text, 0o644)
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.prometheusPath("targets"), 0o755); err != nil {
		return err
	}
	target := fmt.Sprintf("- targets: [%q]\n  labels: { instance: demo }\n", d.where.Health)
	return os.WriteFile(d.prometheusPath("targets/demo.yml"), []byte(target), 0o644)
}

// prometheusReady waits until it answers queries.
func (d *demo) prometheusReady(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(limited, http.MethodGet, "http://"+d.prometheus+"/-/ready", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("HTTP status %d", answer.StatusCode)
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("prometheus does not become ready, see %s: %w", d.prometheusPath("prometheus.log"), errors.Join(context.Cause(ctx), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
