package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// envPrefix begins the name of every environment variable that is ours.
const envPrefix = "PUREPOOL_"

// EnvFile is the variable that names the configuration file; it is no key.
const EnvFile = envPrefix + "CONFIG"

// loadEnv lays the environment over the file. A variable is PUREPOOL_, the path
// of the key in capitals, its parts joined by underscores; an element of an
// array of tables is its number: PUREPOOL_FRONTEND_HTTP_0_LISTEN,
// PUREPOOL_NETWORK_MAIN_DAEMON_0_URL. Lists are separated by commas.
func (l *loader) loadEnv(env []string) {
	values := make(map[string]string)
	for _, word := range env {
		name, value, ok := strings.Cut(word, "=")
		if ok && strings.HasPrefix(name, envPrefix) && name != EnvFile {
			values[name] = value // the last one counts, as in a shell
		}
	}
	known := envNames(reflect.TypeFor[Config](), envPrefix)
	for _, name := range slices.SortedFunc(maps.Keys(values), compareEnv) {
		from := origin{source: "$" + name}
		found, err := l.setEnv("", strings.TrimPrefix(name, envPrefix), reflect.ValueOf(l.cfg).Elem(), values[name], from)
		switch {
		case err != nil:
			l.problems = append(l.problems, Problem{Source: from.source, Message: err.Error()})
		case !found:
			l.problems = append(l.problems, Problem{
				Source: from.source, Message: "no such key" + didYouMeanEnv(name, known),
			})
		}
	}
}

// compareEnv sorts names with the numbers in them by value, so that elements of
// arrays are made in order.
func compareEnv(a, b string) int {
	as, bs := strings.Split(a, "_"), strings.Split(b, "_")
	return slices.CompareFunc(as, bs, func(x, y string) int {
		n, err1 := strconv.Atoi(x)
		m, err2 := strconv.Atoi(y)
		if err1 == nil && err2 == nil {
			return n - m
		}
		return strings.Compare(x, y)
	})
}

// setEnv finds the key that the rest of a name means and sets it.
func (l *loader) setEnv(path, rest string, v reflect.Value, text string, from origin) (bool, error) {
	for _, f := range fieldsOf(v.Type()) {
		tail, ok := cutWord(rest, strings.ToUpper(f.key))
		if !ok {
			continue
		}
		at, fv := join(path, f.key), v.Field(f.index)
		elem, section := isSection(f.typ)
		switch {
		case !section && tail == "":
			l.set(at, f, fv, text, from)
			return true, nil
		case !section || tail == "" || !fits(elem, f.typ, tail):
			continue
		case f.typ.Kind() == reflect.Struct:
			return l.setEnv(at, tail, fv, text, from)
		case f.typ.Kind() == reflect.Slice:
			number, tail, _ := strings.Cut(tail, "_")
			i, _ := strconv.Atoi(number)
			if i > fv.Len() {
				return true, fmt.Errorf("there is no %s[%d]: the next one would be number %d", at, i, fv.Len())
			}
			if i == fv.Len() {
				fv.Set(reflect.Append(fv, newElement(elem)))
				l.origins[fmt.Sprintf("%s[%d]", at, i)] = from
			}
			return l.setEnv(fmt.Sprintf("%s[%d]", at, i), tail, fv.Index(i), text, from)
		case f.typ.Kind() == reflect.Map:
			name, tail, _ := strings.Cut(tail, "_")
			name = strings.ToLower(name)
			if !fv.MapIndex(reflect.ValueOf(name)).IsValid() {
				l.origins[join(at, name)] = from
			}
			return l.setEnv(join(at, name), tail, mapElement(fv, elem, name), text, from)
		}
	}
	return false, nil
}

// fits reports whether the rest of a name leads to a key of the section, before
// anything is made for it.
func fits(elem, t reflect.Type, rest string) bool {
	switch t.Kind() {
	case reflect.Slice:
		number, tail, _ := strings.Cut(rest, "_")
		i, err := strconv.Atoi(number)
		if err != nil || i < 0 || strconv.Itoa(i) != number {
			return false
		}
		rest = tail
	case reflect.Map:
		name, tail, _ := strings.Cut(rest, "_")
		if !validName(strings.ToLower(name)) {
			return false
		}
		rest = tail
	}
	for _, f := range fieldsOf(elem) {
		tail, ok := cutWord(rest, strings.ToUpper(f.key))
		if !ok {
			continue
		}
		if inner, section := isSection(f.typ); (section && tail != "" && fits(inner, f.typ, tail)) || (!section && tail == "") {
			return true
		}
	}
	return false
}

// cutWord cuts a leading word off, and the underscore after it.
func cutWord(s, word string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, word)
	if !ok || rest == "" {
		return "", ok
	}
	return strings.CutPrefix(rest, "_")
}

// envNames lists the variables of a section, with 0 and MAIN where a number or
// a name stands.
func envNames(t reflect.Type, prefix string) []string {
	var names []string
	for _, f := range fieldsOf(t) {
		name := prefix + strings.ToUpper(f.key)
		elem, section := isSection(f.typ)
		if !section {
			names = append(names, name)
			continue
		}
		switch f.typ.Kind() {
		case reflect.Slice:
			name += "_0"
		case reflect.Map:
			name += "_MAIN"
		}
		names = append(names, envNames(elem, name+"_")...)
	}
	return names
}

func didYouMeanEnv(name string, known []string) string {
	lower := make([]string, len(known))
	for i, k := range known {
		lower[i] = strings.ToLower(k)
	}
	s := didYouMean(name, lower)
	if head, quoted, ok := strings.Cut(s, `"`); ok {
		return head + `"` + strings.ToUpper(quoted)
	}
	return s
}
