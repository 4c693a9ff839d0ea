package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeWithin is how long a shell waits for the names of a running pipeline:
// longer would feel like a hung terminal.
const completeWithin = 300 * time.Millisecond

// completeEdges makes shells offer the edges of the running pipeline. When there
// is none, or it does not answer at once, they offer nothing. most is how many
// edges the command takes, 0 for any number.
func completeEdges(c *connection, most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
		defer cancel()
		k, err := c.open()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s, _, err := k.status(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, id := range s.EdgeNames {
			name := strings.Replace(id, "->", "/", 1) // which no shell takes for something else
			if strings.Contains(toComplete, "->") {
				name = id
			}
			if strings.HasPrefix(name, toComplete) && !slices.Contains(args, name) {
				names = append(names, cobra.CompletionWithDesc(name, policy(edgeFigures{status: s.Edges[id]})))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
