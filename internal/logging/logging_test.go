package logging

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"purepool/internal/config"
)

func TestLevelAndFormatAreTheConfigurations(t *testing.T) {
	var text, json bytes.Buffer
	warn := New(&text, config.Log{Level: "warn", Format: "text"})
	warn.Info("quiet")
	warn.Warn("loud", slog.Int("n", 1))
	if got := text.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "msg=loud n=1") {
		t.Errorf("text log: %s", got)
	}
	New(&json, config.Log{Level: "debug", Format: "json"}).Debug("seen", slog.Any("secret", config.NewSecret("hunter2")))
	if got := json.String(); !strings.Contains(got, `"msg":"seen"`) || strings.Contains(got, "hunter2") {
		t.Errorf("JSON log: %s", got)
	}
}
