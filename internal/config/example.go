package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

const exampleHead = `# Purepool's configuration. What is commented out shows the default.
#
# Every key can be overridden by an environment variable: PUREPOOL_, then the
# key's path in capitals joined by underscores, like PUREPOOL_LOG_LEVEL=debug,
# PUREPOOL_FRONTEND_HTTP_0_LISTEN=:8080 or PUREPOOL_NETWORK_MAIN_POOL_ADDRESS=B….
# Lists are separated by commas there.
#
# Every secret can be kept in a file of its own, with password_file instead of
# password and so on. Relative paths start at the folder of this file.
#
# Check with: purepool config check --role all purepool.toml
`

// WriteExample writes a configuration with every key, its meaning, unit and
// default. It is valid as it stands.
func WriteExample(w io.Writer) error {
	var b strings.Builder
	b.WriteString(exampleHead)
	writeExampleSection(&b, comments(), "", reflect.TypeFor[Config]())
	_, err := io.WriteString(w, b.String())
	return err
}

func writeExampleSection(b *strings.Builder, docs map[string]string, path string, t reflect.Type) {
	fields := fieldsOf(t)
	// TOML wants the plain keys of a table before the tables in it.
	for _, f := range fields {
		if _, section := isSection(f.typ); section {
			continue
		}
		if f.fileOnly {
			fmt.Fprintf(b, "# %s = \"\"\n", f.key)
			continue
		}
		b.WriteString("\n")
		writeComment(b, docs[t.Name()+"."+t.Field(f.index).Name])
		if note := boundsNote(f); note != "" {
			writeComment(b, "("+note+")")
		}
		if example := f.tag.Get("example"); example != "" {
			fmt.Fprintf(b, "%s = %s\n", f.key, tomlLiteral(f.typ, example))
		} else {
			fmt.Fprintf(b, "# %s = %s\n", f.key, tomlLiteral(f.typ, f.tag.Get("default")))
		}
	}
	for _, f := range fields {
		elem, section := isSection(f.typ)
		if !section {
			continue
		}
		at := join(path, f.key)
		b.WriteString("\n")
		writeComment(b, docs[t.Name()+"."+t.Field(f.index).Name])
		switch f.typ.Kind() {
		case reflect.Struct:
			fmt.Fprintf(b, "[%s]\n", at)
		case reflect.Slice:
			fmt.Fprintf(b, "[[%s]]\n", at)
		case reflect.Map:
			at = join(at, f.tag.Get("example"))
			fmt.Fprintf(b, "[%s]\n", at)
		}
		writeExampleSection(b, docs, at, elem)
	}
}

func writeComment(b *strings.Builder, text string) {
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimRight("# "+strings.TrimRight(line, "\n"), " ") + "\n")
	}
}

// boundsNote says in words what the tags allow.
func boundsNote(f field) string {
	var notes []string
	if enum := f.tag.Get("enum"); enum != "" {
		notes = append(notes, "one of "+strings.ReplaceAll(enum, ",", ", "))
	}
	lo, hi := f.tag.Get("min"), f.tag.Get("max")
	switch {
	case lo != "" && hi != "":
		notes = append(notes, lo+" to "+hi)
	case hi != "":
		notes = append(notes, "at most "+hi)
	case lo != "":
		notes = append(notes, "at least "+lo)
	}
	if f.tag.Get("example") != "" && f.tag.Get("default") != "" {
		notes = append(notes, "default "+f.tag.Get("default"))
	}
	return strings.Join(notes, "; ")
}

// tomlLiteral writes the text of a default or example as TOML.
func tomlLiteral(t reflect.Type, text string) string {
	switch {
	case t.Kind() == reflect.Slice && text == "":
		return "[]"
	case t.Kind() == reflect.Slice:
		parts := strings.Split(text, ",")
		for i, p := range parts {
			parts[i] = tomlLiteral(t.Elem(), p)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Bool:
		return text
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

const referenceHead = `# Configuration

<!-- Written by "make docs" from internal/config/sections*.go; change it there. -->

One TOML file, named by ` + "`--config`" + ` or ` + "`" + EnvFile + "`" + `, by default ` + "`" + DefaultPath + "`" + `.
` + "`purepool config example`" + ` prints one with every key; ` + "`purepool config check --role ROLE FILE`" + ` names every
unknown key, wrong type and contradiction with its line, and exits with 1 where there is one.

**Environment.** Every key can be overridden: ` + "`PUREPOOL_`" + `, then the key's path in capitals, joined by underscores. ` + "`N`" + ` is the
number of an element, from 0: the next free number makes a new one. ` + "`NAME`" + ` is the network's name in capitals. Lists are separated by
commas. A variable that begins with ` + "`PUREPOOL_`" + ` and means no key is a fault, like an unknown key in the file.

**Secrets.** Where a key is marked *secret*, ` + "`key_file`" + ` names a file that holds it instead: one line, its line end is dropped. Both
forms in one place are a fault; the environment's form replaces the file's. A secret in a file that every user of the machine can read is a warning.

**Roles.** A process reads only the secrets of its own role. A frontend or web process that *can* read another role's secret,
be it in its configuration or in a file it names, refuses to start: what faces the internet must have nothing to steal. So one
configuration may serve all roles of a machine where secrets are in files and each file belongs to its role's user.

**Values.** Durations: ` + "`\"250ms\"`, `\"30s\"`, `\"1h30m\"`, `\"14d\"`" + `. Sizes: ` + "`\"8MiB\"`" + ` (KiB, MiB, GiB, TiB are powers of 1024; kB, MB, GB, TB of 1000).
Percentages are exact decimals in quotes: ` + "`\"2.5\"`" + `. Relative paths start at the folder of the file.
`

// DefaultPath is where the configuration is looked for.
const DefaultPath = "/etc/purepool/purepool.toml"

// WriteReference writes docs/CONFIGURATION.md.
func WriteReference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(referenceHead)
	writeReferenceSection(&b, comments(), "", envPrefix, reflect.TypeFor[Config]())
	_, err := io.WriteString(w, b.String())
	return err
}

func writeReferenceSection(b *strings.Builder, docs map[string]string, path, env string, t reflect.Type) {
	fields := fieldsOf(t)
	first := true
	for _, f := range fields {
		if _, section := isSection(f.typ); section || f.fileOnly {
			continue
		}
		if first {
			b.WriteString("\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n")
			first = false
		}
		doc := docs[t.Name()+"."+t.Field(f.index).Name]
		if roles := f.tag.Get("roles"); roles != "" && f.secret {
			doc += "\n*Secret* of: " + strings.ReplaceAll(roles, ",", ", ") + "."
		}
		fallback := f.tag.Get("default")
		if fallback != "" {
			fallback = "`" + fallback + "`"
		}
		kind := strings.ReplaceAll(describe(f.typ), ` in quotes`, "")
		if note := boundsNote(field{tag: reflect.StructTag(strings.ReplaceAll(string(f.tag), "example:", "x:"))}); note != "" {
			kind += "; " + note
		}
		fmt.Fprintf(b, "| `%s`<br>`%s%s` | %s | %s | %s |\n", f.key, env, strings.ToUpper(f.key), cell(kind), fallback, cell(doc))
	}
	for _, f := range fields {
		elem, section := isSection(f.typ)
		if !section {
			continue
		}
		at, name, level := join(path, f.key), env+strings.ToUpper(f.key)+"_", "##"
		if path != "" {
			level = "###"
		}
		switch f.typ.Kind() {
		case reflect.Struct:
			fmt.Fprintf(b, "\n%s `[%s]`\n", level, at)
		case reflect.Slice:
			fmt.Fprintf(b, "\n%s `[[%s]]`\n", level, at)
			name += "N_"
		case reflect.Map:
			at += ".NAME"
			fmt.Fprintf(b, "\n%s `[%s]`\n", level, at)
			name += "NAME_"
		}
		if doc := docs[t.Name()+"."+t.Field(f.index).Name]; doc != "" {
			b.WriteString("\n" + doc + "\n")
		}
		writeReferenceSection(b, docs, at, name, elem)
	}
}

// cell makes text fit a table's cell.
func cell(text string) string {
	text = strings.ReplaceAll(text, "|", `\|`)
	// An indented line is a line of its own, the others flow.
	text = strings.ReplaceAll(text, "\n  ", "<br>")
	text = strings.ReplaceAll(text, "\n*Secret", "<br>*Secret")
	return strings.ReplaceAll(text, "\n", " ")
}
