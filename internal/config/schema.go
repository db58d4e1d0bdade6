package config

import (
	"embed"
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sectionsSource holds the files that declare the sections: the comments on
// their fields are the keys' documentation, also at run time.
//
//go:embed sections*.go
var sectionsSource embed.FS

// field is one key of a section, as its struct declares it.
type field struct {
	index    int
	key      string
	typ      reflect.Type
	tag      reflect.StructTag
	secret   bool
	fileOnly bool // the key_file form of a secret
}

// fieldsOf lists the keys of a section in order; a secret counts twice, as
// itself and as key_file.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("toml")
		if key == "" {
			continue
		}
		out := field{index: i, key: key, typ: f.Type, tag: f.Tag, secret: f.Type == reflect.TypeFor[Secret]()}
		fields = append(fields, out)
		if out.secret {
			out.key += "_file"
			out.fileOnly = true
			fields = append(fields, out)
		}
	}
	return fields
}

// usedBy reports whether a role has business with the key.
func (f field) usedBy(role Role) bool {
	roles := f.tag.Get("roles")
	return roles == "" || role == RoleAny || slices.Contains(strings.Split(roles, ","), string(role)) ||
		(role == RoleAll && roles != "migrate")
}

// isSection reports whether a type is a table, an array of tables or a table of
// tables, and which struct it is made of.
func isSection(t reflect.Type) (elem reflect.Type, ok bool) {
	switch {
	case t.Kind() == reflect.Struct && t != reflect.TypeFor[Secret]() && t != reflect.TypeFor[netip.Prefix]():
		return t, true
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct && t.Elem() != reflect.TypeFor[netip.Prefix]():
		return t.Elem(), true
	case t.Kind() == reflect.Map:
		return t.Elem().Elem(), true
	}
	return nil, false
}

// describe says in words what a value of a type looks like.
func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return `a duration in quotes, like "30s"`
	case reflect.TypeFor[Bytes]():
		return `a size in quotes, like "8MiB"`
	case reflect.TypeFor[Percent]():
		return `a percentage in quotes, like "2.5"`
	case reflect.TypeFor[Coins]():
		return `an amount of coins in quotes, like "10" or "0.5"`
	case reflect.TypeFor[Factor]():
		return `a decimal number in quotes, like "2"`
	case reflect.TypeFor[Difficulty]():
		return `a difficulty in quotes, like "1" or "0.0001"`
	case reflect.TypeFor[DayTime]():
		return `a time of day in quotes, like "18:00"`
	case reflect.TypeFor[Target]():
		return "64 hex digits in quotes"
	case reflect.TypeFor[Path]():
		return "a path in quotes"
	case reflect.TypeFor[netip.Prefix]():
		return `an address or network in quotes, like "10.0.0.0/8"`
	}
	switch t.Kind() {
	case reflect.String, reflect.Struct:
		return "text in quotes"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list of: " + describe(t.Elem())
	}
	return "a whole number"
}

// setText sets a value from text, as an environment variable or a default gives
// it. Lists are separated by commas.
func setText(v reflect.Value, text string) error {
	switch target := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := parseDuration(text)
		*target = d
		return err
	case *netip.Prefix:
		return setPrefix(target, text)
	case *Secret:
		*target = Secret{value: text}
		return nil
	case encoding.TextUnmarshaler:
		if text == "" {
			v.SetZero()
			return nil
		}
		return target.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
		v.SetInt(n)
	case reflect.Slice:
		v.SetZero()
		if text == "" {
			return nil
		}
		for part := range strings.SplitSeq(text, ",") {
			elem := reflect.New(v.Type().Elem()).Elem()
			if err := setText(elem, strings.TrimSpace(part)); err != nil {
				return err
			}
			v.Set(reflect.Append(v, elem))
		}
	default:
		return fmt.Errorf("a %s cannot be set from text", v.Type())
	}
	return nil
}

func setPrefix(target *netip.Prefix, text string) error {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		*target = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf(`%q is no address and no network like "10.0.0.0/8"`, text)
	}
	if p != p.Masked() {
		return fmt.Errorf("%q has bits beyond its length, the network is %q", text, p.Masked())
	}
	*target = p
	return nil
}

// formatValue writes a value as setText reads it.
func formatValue(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		return formatDuration(value)
	case fmt.Stringer:
		return value.String()
	}
	return fmt.Sprint(v.Interface())
}

// checkBounds applies the enum, min and max tags.
func checkBounds(f field, v reflect.Value) error {
	if enum := f.tag.Get("enum"); enum != "" && v.Kind() == reflect.String {
		allowed := strings.Split(enum, ",")
		// Empty is for keys without a default: it means that none was chosen.
		if s := v.String(); !slices.Contains(allowed, s) && (s != "" || f.tag.Get("default") != "") {
			return fmt.Errorf("%q is none of %s%s", s, enumWords(allowed), didYouMean(s, allowed))
		}
	}
	for _, bound := range []struct{ name, limit string }{{"min", f.tag.Get("min")}, {"max", f.tag.Get("max")}} {
		if bound.limit == "" {
			continue
		}
		limit := reflect.New(v.Type()).Elem()
		if err := setText(limit, bound.limit); err != nil {
			return fmt.Errorf("bound of %s: %w", f.key, err)
		}
		if bound.name == "min" && v.Int() < limit.Int() {
			return fmt.Errorf("%s is too small, the least is %s", formatValue(v), bound.limit)
		}
		if bound.name == "max" && v.Int() > limit.Int() {
			return fmt.Errorf("%s is too large, the most is %s", formatValue(v), bound.limit)
		}
	}
	return nil
}

func enumWords(allowed []string) string {
	if len(allowed) == 1 {
		return allowed[0]
	}
	return strings.Join(allowed[:len(allowed)-1], ", ") + " and " + allowed[len(allowed)-1]
}

// setDefaults fills a section with the defaults of its tags, its tables included.
func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.Field(f.index)
		if _, ok := isSection(f.typ); ok {
			if f.typ.Kind() == reflect.Struct {
				setDefaults(fv)
			}
			continue
		}
		if text := f.tag.Get("default"); text != "" && !f.fileOnly {
			if err := setText(fv, text); err != nil {
				// A wrong tag is a mistake of the programme, found by every test.
				panic(fmt.Sprintf("default of %s: %v", f.key, err))
			}
		}
	}
}

// comments maps Type.Field to the comment above the field in the sections' files.
func comments() map[string]string {
	out := make(map[string]string)
	files, err := sectionsSource.ReadDir(".")
	for _, f := range files {
		var text []byte
		if text, err = sectionsSource.ReadFile(f.Name()); err == nil {
			err = addComments(out, f.Name(), text)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		panic(fmt.Sprintf("the embedded sections: %v", err)) // they compiled
	}
	return out
}

func addComments(out map[string]string, name string, text []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if st, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					out[spec.Name.Name+"."+name.Name] = strings.TrimSpace(f.Doc.Text())
				}
			}
		}
		return true
	})
	return nil
}
