package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// unlimited is above what a control group without a limit says in version 1.
const unlimited = 1 << 60

// containerMemory returns how much memory the control group of this process may
// use, in bytes: the least of its own limit and of those of the groups it is in; 0
// when there is none, or no control groups. self is /proc/self/cgroup, and root is
// where control groups are mounted.
func containerMemory(self, root string) int64 {
	text, err := os.ReadFile(self)
	if err != nil {
		return 0 // not Linux
	}
	least := int64(unlimited)
	for line := range strings.Lines(string(text)) { // "0::/a/b", or "4:memory:/a/b" in version 1
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(part) < 3:
		case part[0] == "0" && part[1] == "":
			least = min(least, leastLimit(root, part[2], "memory.max", "memory.high"))
		case slices.Contains(strings.Split(part[1], ","), "memory"):
			least = min(least, leastLimit(filepath.Join(root, "memory"), part[2], "memory.limit_in_bytes"))
		}
	}
	if least == unlimited {
		return 0
	}
	return least
}

// leastLimit returns the least limit of the group at path and of all that it is
// in. Inside a container path may be as the host names it: then it does not exist
// here, and the container's own group is the root.
func leastLimit(root, path string, files ...string) int64 {
	least := int64(unlimited)
	for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(root, dir, file))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 { // else "max"
				least = min(least, n)
			}
		}
		if dir == "/" {
			return least
		}
	}
}
