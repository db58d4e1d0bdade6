package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says what a problem means for a start.
type Severity int

// Severities.
const (
	// Fault: the process does not start.
	Fault Severity = iota
	// Warning: it starts, and says so in the log.
	Warning
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Severity Severity
	// Source is where: the file, or the environment variable with its dollar sign.
	Source string
	// Line in that file, from 1; 0 where there is none to point at.
	Line int
	// Key is the key's full path, like "frontend.http[0].listen".
	Key     string
	Message string
}

// String is one line of the form "file:line: key: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Source)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Severity == Warning {
		b.WriteString("warning: ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Faults counts the problems that keep a process from starting.
func Faults(problems []Problem) int {
	n := 0
	for _, p := range problems {
		if p.Severity == Fault {
			n++
		}
	}
	return n
}

// sortProblems orders by place: the file from top to bottom, then the environment.
func sortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			// The file's first: "$" stands before letters and slashes.
			-cmp.Compare(strings.Index(a.Source, "$"), strings.Index(b.Source, "$")),
			cmp.Compare(a.Source, b.Source), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key),
		)
	})
}
