package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

const reloadLong = `Make a running pipeline read its file again, as SIGHUP does. What can change
while it runs changes; a file with a mistake, or with a change that needs a new
process, is refused whole and nothing changes.`

func newReloadCommand(std streams) *cobra.Command {
	var a asker
	cmd := &cobra.Command{
		Use:     "reload",
		Short:   "Make a running pipeline read its file again",
		Long:    reloadLong,
		Example: "  pipectl reload\n  pipectl reload --addr pipes-1:9464 --format json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.change(cmd, std, call{method: http.MethodPost, path: []string{"api", "v1", "reload"}}, trial{}, "")
		},
	}
	a.flags(cmd)
	return cmd
}
