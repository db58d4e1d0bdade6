package logging

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"purepool/internal/config"
)

// Levels that can be asked for.
var levelNames = []string{"debug", "info", "warn", "error"}

// Page answers GET with the levels of the roles that the process plays, as JSON,
// and sets the level of one with PUT ?role=ROLE&level=LEVEL, where the role all
// means every one. It is for the machine's own operator: who may call it, the
// caller decides.
func (l *Logs) Page(played []config.Role) http.Handler {
	log := l.For(config.RoleAll)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
		case http.MethodPut:
			role, name := config.Role(r.FormValue("role")), r.FormValue("level")
			if role != config.RoleAll && !slices.Contains(played, role) {
				http.Error(w, fmt.Sprintf("this process plays %s, not %q", joined(played), role), http.StatusNotFound)
				return
			}
			if !slices.Contains(levelNames, name) {
				http.Error(w, fmt.Sprintf("%q is no level: it is one of %s", name, strings.Join(levelNames, ", ")), http.StatusBadRequest)
				return
			}
			if err := l.SetLevel(role, levelOf(name)); err != nil {
				http.Error(w, err.Error(), http.StatusNotFound)
				return
			}
			// At a level that every setting shows.
			log.Error("log level changed by hand", slog.String("of", string(role)), slog.String("level", name))
		default:
			w.Header().Set("Allow", "GET, PUT")
			http.Error(w, "GET or PUT", http.StatusMethodNotAllowed)
			return
		}
		levels := make(map[config.Role]string, len(played))
		for _, role := range played {
			levels[role] = strings.ToLower(l.Levels()[role].String())
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(levels)
	})
}

func joined(roles []config.Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}
