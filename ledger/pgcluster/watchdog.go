package pgcluster

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
)

// watchdogScript waits on its standard input. A line means that the server has
// ended in good order. End of file without a line means that the process that
// started it is dead: the server must end too, and a throw-away folder with it.
//
// Arguments: server's pid, signal, folder to remove or "".
const watchdogScript = `
if read -r line; then exit 0; fi
kill -s "$2" "$1" 2>/dev/null
i=0
while kill -0 "$1" 2>/dev/null; do
	i=$((i + 1))
	[ "$i" = 200 ] && kill -s QUIT "$1" 2>/dev/null
	[ "$i" = 300 ] && kill -s KILL "$1" 2>/dev/null
	[ "$i" = 320 ] && break
	sleep 0.05
done
if [ -n "$3" ]; then cd / && rm -rf "$3"; fi
`

// watchdog is the small shell that outlives us when we are killed.
type watchdog struct {
	cmd  *exec.Cmd
	line io.WriteCloser
}

func startWatchdog(who account, dir string, pid int, throwAway bool) (*watchdog, error) {
	signal, remove := "INT", ""
	if throwAway {
		signal, remove = "QUIT", dir
	}
	// Not the caller's context: the watchdog ends when the server has.
	cmd := who.command(context.Background(), "/", "/bin/sh", "-c", watchdogScript, "watchdog", strconv.Itoa(pid), signal, remove)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	return &watchdog{cmd: cmd, line: w}, nil
}

// dismiss tells the watchdog that the server has ended, and waits for it.
func (w *watchdog) dismiss() {
	_, _ = io.WriteString(w.line, "ended\n")
	w.line.Close()
	_ = w.cmd.Wait()
}
