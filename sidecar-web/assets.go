package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates/*.html
var templateFiles embed.FS

// assets are the files that pages load, under names that change with their
// content, so that they can be kept for ever.
type assets struct {
	urls  map[string]string  // "app.css" to "/assets/app.1a2b3c.css"
	files map[string]*answer // by the name in the URL
}

const assetsPath = "/assets/"

func loadAssets() (*assets, error) {
	a := &assets{urls: map[string]string{}, files: map[string]*answer{}}
	err := fs.WalkDir(assetFiles, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		base, ext := path.Base(name), path.Ext(name)
		named := strings.TrimSuffix(base, ext) + "." + hex.EncodeToString(sum[:5]) + ext
		contentType := mime.TypeByExtension(ext)
		switch ext {
		case ".js":
			contentType = "text/javascript; charset=utf-8"
		case ".css":
			contentType = "text/css; charset=utf-8"
		case ".svg":
			contentType = "image/svg+xml"
		case "":
			contentType = "text/plain; charset=utf-8"
		}
		file := newAnswer(200, contentType, body, 365*24*time.Hour)
		if file.zipped != nil {
			file.zipped = zipSmall(body)
		}
		if _, twice := a.files[named]; twice {
			return fmt.Errorf("web: two assets are called %s", base)
		}
		a.urls[base], a.files[named] = assetsPath+named, file
		return nil
	})
	return a, err
}

// url returns where an asset is; templates fail on one that there is not.
func (a *assets) url(name string) (string, error) {
	u, ok := a.urls[name]
	if !ok {
		return "", fmt.Errorf("web: no asset %q", name)
	}
	return u, nil
}
