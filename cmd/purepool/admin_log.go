package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"purepool/internal/config"
)

type logLevelCmd struct {
	configFlag
	JSON  bool        `help:"Print as JSON."`
	Role  config.Role `arg:"" enum:"frontend,backend,web,all" help:"frontend, backend, web, or all for every role of the process at frontend_listen."`
	Level string      `arg:"" optional:"" enum:"debug,info,warn,error," default:"" help:"debug, info, warn or error; the level now is shown where it is missing."`
}

// Help is printed below the flags.
func (c *logLevelCmd) Help() string {
	return `Asks the process on this machine at its health listener, which obeys nobody else. The level holds until the process ends, or
reads its configuration again at SIGHUP.`
}

func (c *logLevelCmd) Run(a *app) error {
	cfg, _, err := c.load(a, config.RoleAdmin)
	if err != nil {
		return err
	}
	// Where one process plays all roles, the frontend's listener is its only one.
	listeners := []string{cfg.Health.FrontendListen}
	switch c.Role {
	case config.RoleBackend:
		listeners = []string{cfg.Health.BackendListen, cfg.Health.FrontendListen}
	case config.RoleWeb:
		listeners = []string{cfg.Health.WebListen, cfg.Health.FrontendListen}
	default:
	}
	var levels map[string]string
	for _, address := range listeners {
		if levels, err = c.ask(a.ctx, address); !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(levels)
	}
	for _, r := range []config.Role{config.RoleFrontend, config.RoleBackend, config.RoleWeb} {
		if level, ok := levels[string(r)]; ok && (c.Role == r || c.Role == config.RoleAll) {
			fmt.Fprintf(a.stdout, "%s %s\n", r, level)
		}
	}
	return nil
}

// ask shows or sets the level at a health listener, and returns those of the
// process.
func (c *logLevelCmd) ask(ctx context.Context, listener string) (map[string]string, error) {
	address, err := dialable(listener)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	u, method := url.URL{Scheme: "http", Host: address, Path: "/log-level"}, http.MethodGet
	if c.Level != "" {
		method = http.MethodPut
		u.RawQuery = url.Values{"role": {string(c.Role)}, "level": {c.Level}}.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	// No proxy of the environment: the other end is this machine.
	response, err := (&http.Client{Transport: new(http.Transport)}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("the process at the health listener does not answer, is it running?: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", address, oneLine(strings.TrimSpace(string(body)), 200))
	}
	var levels map[string]string
	if err := json.Unmarshal(body, &levels); err != nil {
		return nil, fmt.Errorf("%s answers like no purepool: %w", address, err)
	}
	return levels, nil
}

// dialable is where this machine reaches a listener.
func dialable(listener string) (string, error) {
	if listener == "" {
		return "", errors.New("the role has no health listener: set health.…_listen and restart it, or change [log] and send it SIGHUP")
	}
	host, port, err := net.SplitHostPort(listener)
	if err != nil {
		return "", err
	}
	if address, err := netip.ParseAddr(host); host == "" || (err == nil && address.IsUnspecified()) {
		host = "127.0.0.1"
		if err == nil && address.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}
