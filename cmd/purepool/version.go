package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCmd struct{}

// Help is printed below the flags.
func (c *versionCmd) Help() string {
	return `The version is the tag, or where the commit has none, Go's pseudo-version of it; "+dirty" and "+" mean that files had
been changed since.`
}

func (c *versionCmd) Run(a *app) error {
	fmt.Fprintf(a.stdout, "purepool %s, commit %s (%s, %s/%s)\n", release(), version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}

// release is the version that Go's build recorded: a tag, or a pseudo-version.
func release() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// version is the commit that this binary was built from, as far as the build
// recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+"
		}
	}
	if revision != "" {
		return revision + modified
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return "devel"
}
