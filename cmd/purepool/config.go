package main

import (
	"encoding/json"
	"fmt"

	"purepool/internal/config"
)

type configCmd struct {
	Check     configCheckCmd     `cmd:"" help:"Name every unknown key, wrong type and contradiction."`
	Example   configExampleCmd   `cmd:"" help:"Print a configuration with every key, its meaning and default."`
	Reference configReferenceCmd `cmd:"" help:"Print docs/CONFIGURATION.md."`
}

type configCheckCmd struct {
	configFlag
	Role string `enum:"any,frontend,backend,web,all,migrate,admin" default:"any" help:"Check what this role needs too: ${enum}."`
	JSON bool   `help:"Print the problems as JSON."`
	File string `arg:"" optional:"" help:"The file, as --config."`
}

// Help is printed below the flags.
func (c *configCheckCmd) Help() string {
	return `Each problem is a line: file:line: key: what is wrong; of the environment: $VARIABLE: what is wrong.
Exit code 1 where there is a fault; warnings alone are 0. The environment counts as it would for a start.`
}

func (c *configCheckCmd) Run(a *app) error {
	path := c.path(a)
	if c.File != "" {
		path = c.File
	}
	role := config.Role(c.Role)
	if c.Role == "any" {
		role = config.RoleAny
	}
	_, problems := config.Load(path, a.env, role)
	faults := config.Faults(problems)
	if c.JSON {
		return c.printJSON(a, problems, faults)
	}
	for _, p := range problems {
		fmt.Fprintln(a.stdout, p)
	}
	if faults > 0 {
		return fmt.Errorf("%s: %s", path, plural(faults, "fault"))
	}
	as := ""
	if role != config.RoleAny {
		as = " for the role " + c.Role
	}
	fmt.Fprintf(a.stdout, "%s: good%s\n", path, as)
	return nil
}

func (c *configCheckCmd) printJSON(a *app, problems []config.Problem, faults int) error {
	type problem struct {
		Severity string `json:"severity"`
		Source   string `json:"source"`
		Line     int    `json:"line,omitempty"`
		Key      string `json:"key,omitempty"`
		Message  string `json:"message"`
	}
	list := make([]problem, len(problems))
	for i, p := range problems {
		list[i] = problem{"fault", p.Source, p.Line, p.Key, p.Message}
		if p.Severity == config.Warning {
			list[i].Severity = "warning"
		}
	}
	if err := json.NewEncoder(a.stdout).Encode(list); err != nil {
		return err
	}
	if faults > 0 {
		return fmt.Errorf("the configuration has %s", plural(faults, "fault"))
	}
	return nil
}

type configExampleCmd struct{}

func (c *configExampleCmd) Run(a *app) error { return config.WriteExample(a.stdout) }

type configReferenceCmd struct{}

func (c *configReferenceCmd) Run(a *app) error { return config.WriteReference(a.stdout) }
