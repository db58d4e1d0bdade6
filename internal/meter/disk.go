package meter

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
)

// Disks tells how full the file systems are that a process writes to. Looking
// costs a system call at each scrape.
type Disks struct {
	folders    map[string]string
	log        *slog.Logger
	free, size *prometheus.Desc
}

// NewDisks registers the disks of the folders, by what they are for: a few
// fixed words.
func NewDisks(folders map[string]string, log *slog.Logger, r prometheus.Registerer) {
	d := &Disks{
		folders: folders, log: log,
		free: prometheus.NewDesc("purepool_disk_free_bytes", "Room on the disk of a folder for a process without privileges.", []string{"folder"}, nil),
		size: prometheus.NewDesc("purepool_disk_size_bytes", "Size of the disk of a folder.", []string{"folder"}, nil),
	}
	r.MustRegister(d)
}

// Describe is part of prometheus.Collector.
func (d *Disks) Describe(ch chan<- *prometheus.Desc) {
	ch <- d.free
	ch <- d.size
}

// Collect is part of prometheus.Collector.
func (d *Disks) Collect(ch chan<- prometheus.Metric) {
	for _, name := range slices.Sorted(maps.Keys(d.folders)) {
		stat, err := statfs(d.folders[name])
		if err != nil {
			d.log.Warn("the disk of a folder cannot be looked at", slog.String("folder", d.folders[name]), slog.Any("error", err))
			continue
		}
		block := float64(stat.Bsize)
		ch <- prometheus.MustNewConstMetric(d.free, prometheus.GaugeValue, float64(stat.Bavail)*block, name)
		ch <- prometheus.MustNewConstMetric(d.size, prometheus.GaugeValue, float64(stat.Blocks)*block, name)
	}
}

// statfs looks at a folder's disk, or at that on which the folder will be made.
func statfs(folder string) (stat syscall.Statfs_t, err error) {
	for {
		err = syscall.Statfs(folder, &stat)
		parent := filepath.Dir(folder)
		if !errors.Is(err, os.ErrNotExist) || parent == folder {
			return stat, err
		}
		folder = parent
	}
}
