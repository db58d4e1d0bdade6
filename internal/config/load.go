// Package config reads what a purepool process is told: one TOML file, over it
// the environment, and secrets from files of their own. It finds every problem
// at once, with the line it stands on, so that an operator mends a file in one
// go; a process starts only with a configuration that has no fault.
//
// What the keys are, mean and default to is declared once, in the files sections*.go.
package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Role is a part that a process plays, as far as its configuration goes.
type Role string

// Roles.
const (
	// RoleAny checks what can be checked without knowing the role, and reads
	// every secret.
	RoleAny      Role = ""
	RoleFrontend Role = "frontend"
	RoleBackend  Role = "backend"
	RoleWeb      Role = "web"
	RoleAll      Role = "all"
	RoleMigrate  Role = "migrate"
	RoleAdmin    Role = "admin"
)

// Roles lists the roles that a configuration can be checked for.
func Roles() []Role {
	return []Role{RoleFrontend, RoleBackend, RoleWeb, RoleAll, RoleMigrate, RoleAdmin}
}

// maxFileBytes bounds the configuration file and every secret file.
const maxFileBytes = 1 << 20

// Load reads the file at path (none where path is empty), lays the environment
// over it (words of the form NAME=value, as os.Environ gives them) and checks
// the whole for the role. The configuration is never nil; it may be used only
// where Faults(problems) is 0. Problems come in the order of the file.
func Load(path string, env []string, role Role) (*Config, []Problem) {
	l := &loader{cfg: &Config{Network: make(map[string]*Network)}, role: role, file: path, origins: make(map[string]origin)}
	setDefaults(reflect.ValueOf(l.cfg).Elem())
	if path != "" {
		l.loadFile()
	}
	l.loadEnv(env)
	if !l.unreadable {
		l.resolvePaths(reflect.ValueOf(l.cfg).Elem())
		l.readSecrets("", reflect.ValueOf(l.cfg).Elem())
		l.check()
	}
	sortProblems(l.problems)
	return l.cfg, l.problems
}

// origin is where a value came from.
type origin struct {
	source string
	line   int
}

type loader struct {
	cfg      *Config
	role     Role
	file     string
	lines    map[string]int
	origins  map[string]origin // of the keys that were given, by path
	problems []Problem
	// unreadable says that there is no file to judge: what it would have set is
	// not worth a complaint each.
	unreadable bool
}

// add notes a problem at the place where the key, or else the nearest table
// around it, was given.
func (l *loader) add(severity Severity, key, format string, args ...any) {
	o := origin{source: l.file}
	if l.file == "" {
		o.source = "environment"
	}
	for at := key; at != ""; at = parentOf(at) {
		if found, ok := l.origins[at]; ok {
			o = found
			break
		}
		if line, ok := l.lines[at]; ok {
			o.line = line
			break
		}
	}
	l.problems = append(l.problems, Problem{
		Severity: severity, Source: o.source, Line: o.line, Key: key, Message: fmt.Sprintf(format, args...),
	})
}

func (l *loader) fault(key, format string, args ...any)   { l.add(Fault, key, format, args...) }
func (l *loader) warning(key, format string, args ...any) { l.add(Warning, key, format, args...) }

// parentOf cuts the last key or index off a path.
func parentOf(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func (l *loader) loadFile() {
	text, err := readBounded(l.file)
	if err != nil {
		l.unreadable = true
		l.fault("", "%v", errors.Unwrap(err))
		return
	}
	tree, err := l.parse(text)
	if err != nil {
		l.unreadable = true
		l.problems = append(l.problems, Problem{Source: l.file, Line: tomlLine(err), Message: tomlMessage(err)})
		return
	}
	l.decodeTable("", tree, reflect.ValueOf(l.cfg).Elem())
}

func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxFileBytes {
		return "", fmt.Errorf("reading %s: %w", path, fmt.Errorf("the file is larger than %v", Bytes(maxFileBytes)))
	}
	return string(text), nil
}

// parse reads TOML and notes the lines of its keys.
func (l *loader) parse(text string) (map[string]any, error) {
	text = strings.TrimPrefix(text, "\ufeff")
	lines, tooDeep := locate(text)
	if tooDeep > 0 {
		return nil, toml.ParseError{
			Message:  fmt.Sprintf("tables and lists are nested more than %d deep", maxNesting),
			Position: toml.Position{Line: tooDeep},
		}
	}
	tree := make(map[string]any)
	if _, err := toml.Decode(text, &tree); err != nil {
		return nil, err
	}
	l.lines = lines
	return tree, nil
}

func tomlLine(err error) int {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		return parse.Position.Line
	}
	return 0
}

func tomlMessage(err error) string {
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		return err.Error()
	}
	message := parse.Message
	if message == "" {
		// Some errors carry their text beside the position.
		_, message, _ = strings.Cut(parse.Error(), ": ")
	}
	if parse.LastKey != "" && len(parse.LastKey) < 200 {
		message += fmt.Sprintf(" (after the key %q)", parse.LastKey)
	}
	return message
}

// decodeTable lays a table of the file over a section.
func (l *loader) decodeTable(path string, tree map[string]any, v reflect.Value) {
	fields := fieldsOf(v.Type())
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		at := join(path, key)
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if i < 0 {
			l.fault(at, "unknown key%s", didYouMean(key, keysOf(fields)))
			continue
		}
		l.decodeValue(at, fields[i], tree[key], v.Field(fields[i].index))
	}
}

func keysOf(fields []field) []string {
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	return keys
}

func (l *loader) decodeValue(path string, f field, raw any, v reflect.Value) {
	if elem, ok := isSection(f.typ); ok {
		l.decodeSection(path, f, elem, raw, v)
		return
	}
	if list, ok := raw.([]any); ok && f.typ.Kind() == reflect.Slice {
		v.SetZero()
		for i, item := range list {
			elem := reflect.New(f.typ.Elem()).Elem()
			l.decodeValue(fmt.Sprintf("%s[%d]", path, i), field{typ: f.typ.Elem()}, item, elem)
			v.Set(reflect.Append(v, elem))
		}
		return
	}
	text, ok := textOf(raw, f.typ)
	if !ok && f.secret {
		l.fault(path, "wants %s", describe(f.typ)) // and the value is nobody's business
		return
	}
	if !ok {
		l.fault(path, "wants %s, this is %s", describe(f.typ), describeRaw(raw))
		return
	}
	l.set(path, f, v, text, origin{l.file, l.lines[path]})
}

// textOf returns a TOML value as setText takes it, where its type fits.
func textOf(raw any, t reflect.Type) (string, bool) {
	number := t.Kind() == reflect.Int
	switch raw := raw.(type) {
	case string:
		return raw, !number && t.Kind() != reflect.Bool && (t.Kind() != reflect.Slice)
	case bool:
		return fmt.Sprint(raw), t.Kind() == reflect.Bool
	case int64:
		// These are exact as whole numbers.
		exact := t == reflect.TypeFor[Percent]() || t == reflect.TypeFor[Bytes]() || t == reflect.TypeFor[Coins]() || t == reflect.TypeFor[Factor]()
		return fmt.Sprint(raw), number || exact
	}
	return "", false
}

func describeRaw(raw any) string {
	switch raw := raw.(type) {
	case string:
		if len(raw) > 40 {
			return "text"
		}
		return fmt.Sprintf("the text %q", raw)
	case int64:
		return fmt.Sprintf("the number %d", raw)
	case float64:
		return fmt.Sprintf("the number %v", raw)
	case bool:
		return fmt.Sprint(raw)
	case map[string]any:
		return "a table"
	case []any:
		return "a list"
	case []map[string]any:
		return "an array of tables"
	}
	return "a date or time"
}

// set sets a leaf from text and checks its bounds.
func (l *loader) set(path string, f field, v reflect.Value, text string, from origin) {
	l.origins[path] = from
	if f.secret {
		l.setSecret(path, f, v.Addr().Interface().(*Secret), text, from)
		return
	}
	// A value that is no good is not kept: it would only cause further complaints.
	value := reflect.New(v.Type()).Elem()
	if err := setText(value, text); err != nil {
		l.fault(path, "%v", err)
		return
	}
	if err := checkBounds(f, value); err != nil {
		l.fault(path, "%v", err)
		return
	}
	v.Set(value)
}

func (l *loader) decodeSection(path string, f field, elem reflect.Type, raw any, v reflect.Value) {
	switch f.typ.Kind() {
	case reflect.Struct:
		if tree, ok := raw.(map[string]any); ok {
			l.decodeTable(path, tree, v)
			return
		}
		l.fault(path, "wants a table: [%s]", path)
	case reflect.Slice:
		for i, tree := range tablesOf(raw) {
			v.Set(reflect.Append(v, newElement(elem)))
			if tree == nil {
				l.fault(fmt.Sprintf("%s[%d]", path, i), "wants a table")
				continue
			}
			l.decodeTable(fmt.Sprintf("%s[%d]", path, i), tree, v.Index(i))
		}
		if tablesOf(raw) == nil {
			l.fault(path, "wants tables with two brackets: [[%s]]", path)
		}
	case reflect.Map:
		trees, ok := raw.(map[string]any)
		if !ok {
			l.fault(path, "wants tables with names: [%s.main]", path)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(trees)) {
			at := join(path, name)
			tree, ok := trees[name].(map[string]any)
			switch {
			case !ok:
				l.fault(at, "wants a table: [%s]", at)
			case !validName(name):
				l.fault(at, "a name is lower-case letters and digits, at most 16")
			default:
				l.decodeTable(at, tree, mapElement(v, elem, name))
			}
		}
	}
}

// tablesOf returns the elements of an array of tables in either spelling; one
// that is no table is nil.
func tablesOf(raw any) []map[string]any {
	switch raw := raw.(type) {
	case []map[string]any:
		return raw
	case []any:
		tables := make([]map[string]any, len(raw))
		for i, item := range raw {
			tables[i], _ = item.(map[string]any)
		}
		return tables
	}
	return nil
}

func newElement(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	setDefaults(v)
	return v
}

// mapElement returns the section of a name, made with its defaults where new.
func mapElement(m reflect.Value, elem reflect.Type, name string) reflect.Value {
	key := reflect.ValueOf(name)
	if !m.MapIndex(key).IsValid() {
		section := reflect.New(elem)
		setDefaults(section.Elem())
		m.SetMapIndex(key, section)
	}
	return m.MapIndex(key).Elem()
}

// validName keeps the names of networks to what is the same in a header, a
// topic, a file name and an environment variable.
func validName(name string) bool {
	return name != "" && len(name) <= 16 &&
		strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == "" && (name[0] < '0' || name[0] > '9')
}

// resolvePaths makes every path absolute or relative to the working folder.
func (l *loader) resolvePaths(v reflect.Value) {
	l.walk("", v, func(_ string, f field, v reflect.Value) {
		if p, ok := v.Addr().Interface().(*Path); ok {
			*p = l.resolve(*p)
		}
	})
}

func (l *loader) resolve(p Path) Path {
	if p == "" || filepath.IsAbs(string(p)) || l.file == "" {
		return p
	}
	return Path(filepath.Join(filepath.Dir(l.file), string(p)))
}

// walk visits every leaf of a section and of those inside it.
func (l *loader) walk(path string, v reflect.Value, visit func(path string, f field, v reflect.Value)) {
	for _, f := range fieldsOf(v.Type()) {
		if f.fileOnly {
			continue
		}
		at, fv := join(path, f.key), v.Field(f.index)
		if _, ok := isSection(f.typ); !ok {
			visit(at, f, fv)
			continue
		}
		switch f.typ.Kind() {
		case reflect.Struct:
			l.walk(at, fv, visit)
		case reflect.Slice:
			for i := range fv.Len() {
				l.walk(fmt.Sprintf("%s[%d]", at, i), fv.Index(i), visit)
			}
		case reflect.Map:
			for _, name := range slices.SortedFunc(slices.Values(fv.MapKeys()), compareKeys) {
				l.walk(join(at, name.String()), fv.MapIndex(name).Elem(), visit)
			}
		}
	}
}

func compareKeys(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }
