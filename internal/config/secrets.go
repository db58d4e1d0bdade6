package config

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
)

// setSecret takes one of the two forms of a secret: the value or the file that
// holds it. What the environment says replaces what the file says; both forms
// in one place contradict each other.
func (l *loader) setSecret(path string, f field, s *Secret, text string, from origin) {
	plain := strings.TrimSuffix(path, "_file")
	other := plain + "_file"
	if f.fileOnly {
		other = plain
	}
	if before, ok := l.origins[other]; ok {
		if strings.HasPrefix(before.source, "$") == strings.HasPrefix(from.source, "$") {
			l.fault(path, "%s and %s are both given, only one can be meant", plain, plain+"_file")
			return
		}
		delete(l.origins, other)
	}
	if f.fileOnly {
		*s = Secret{file: Path(text)}
		return
	}
	*s = Secret{value: text}
}

// readSecrets reads the secrets that the role has business with, and complains
// about those that it can read and should not: the promise that a frontend
// which is broken into can steal nothing rests on what its process can get at.
func (l *loader) readSecrets(path string, v reflect.Value) {
	l.walk(path, v, func(at string, f field, v reflect.Value) {
		s, ok := v.Addr().Interface().(*Secret)
		if !ok {
			return
		}
		if s.file != "" {
			s.file = l.resolve(s.file)
		}
		switch {
		case !s.IsSet():
		case !f.usedBy(l.role):
			l.foreignSecret(at, f, *s)
		case s.file != "":
			l.readSecret(at, s)
		}
	})
	l.checkFileMode()
}

// foreignSecret judges a secret of another role.
func (l *loader) foreignSecret(at string, f field, s Secret) {
	if l.role == RoleAll || l.role == RoleMigrate || l.role == RoleAdmin || (l.role == RoleBackend && f.key != "owner_dsn") {
		return // trusted with it anyway
	}
	if s.file == "" {
		if !holdsPassword(f, s.value) {
			return
		}
		l.fault(at, "this is a secret of %s, and the %s must not know it: leave it out, or give it as %s_file which only the other role can read",
			f.tag.Get("roles"), l.role, f.key)
		return
	}
	if file, err := os.Open(string(s.file)); err == nil {
		file.Close()
		l.fault(at+"_file", "%s is a secret of %s, and the %s can read it: take the permission away or leave the key out",
			s.file, f.tag.Get("roles"), l.role)
	}
}

func (l *loader) readSecret(at string, s *Secret) {
	at += "_file"
	info, err := os.Stat(string(s.file))
	if err != nil {
		l.fault(at, "%s: %v", s.file, withoutPath(err))
		return
	}
	if !info.Mode().IsRegular() {
		l.fault(at, "%s is no file", s.file)
		return
	}
	text, err := readBounded(string(s.file))
	if err != nil {
		l.fault(at, "%s: %v", s.file, withoutPath(err))
		return
	}
	s.value = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case s.value == "":
		l.fault(at, "%s is empty", s.file)
	case strings.ContainsAny(s.value, "\n\x00"):
		l.fault(at, "%s holds more than one line", s.file)
	case info.Mode().Perm()&0o007 != 0:
		// Only a warning: Docker and Kubernetes hand out secrets as 0444, inside
		// a container where nobody else is.
		l.warning(at, "%s can be read by every user of this machine (mode %04o), chmod o= would help", s.file, info.Mode().Perm())
	}
}

// checkFileMode warns about a configuration file which holds a secret and can
// be read by everybody.
func (l *loader) checkFileMode() {
	info, err := os.Stat(l.file)
	if l.file == "" || err != nil || info.Mode().Perm()&0o007 == 0 {
		return
	}
	l.walk("", reflect.ValueOf(l.cfg).Elem(), func(at string, f field, v reflect.Value) {
		s, ok := v.Addr().Interface().(*Secret)
		from := l.origins[at]
		if !ok || s.file != "" || from.source != l.file || !holdsPassword(f, s.value) {
			return
		}
		l.warning(at, "the secret stands in a file that every user of this machine can read (mode %04o), chmod o= would help or %s_file",
			info.Mode().Perm(), f.key)
	})
}

// holdsPassword tells a connection with a password from one without: with peer
// authentication there is nothing secret in it.
func holdsPassword(f field, value string) bool {
	if strings.HasSuffix(f.key, "_dsn") {
		return DSNPassword(value) != ""
	}
	return value != ""
}

func withoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
