package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newEdgeCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edge",
		Short: "Change the edges of a running pipeline",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newEdgeSetCommand(std))
	return cmd
}

const edgeSetLong = `Change the buffer and the policy of one or more edges while the pipeline runs. No
event is lost, doubled or reordered by it. Producers that wait are woken and
decide again; an edge that becomes smaller keeps what it holds.

What is not given stays as it is, but a policy is given as a whole: --timeout alone
means --policy block with that timeout. Settings can also be written as in the
file: buffer.events=4096 policy.type=sample policy.key=user.id

keep/out is another way to write the edge keep->out, which needs no quotes.`

func newEdgeSetCommand(std streams) *cobra.Command {
	var a asker
	var t trial
	cmd := &cobra.Command{
		Use:   "set EDGE... [SETTING=VALUE...]",
		Short: "Change the buffer and the policy of an edge while it runs",
		Long:  edgeSetLong,
		Example: `  pipectl edge set keep/out --policy drop-oldest
  pipectl edge set 'keep->out' --buffer 4096 --timeout 5s --then drop-newest
  pipectl edge set keep/out keep/copy policy=sample policy.base_rate=0.1 --confirm-within 60s`,
		ValidArgsFunction: completeEdges(&a.connection, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.validate(cmd); err != nil {
				return err
			}
			edges, settings, err := edgeChange(cmd.Flags(), args)
			if err != nil {
				return err
			}
			return a.change(cmd, std, patchEdges(edges, settings, t), t, "")
		},
	}
	for _, s := range edgeSettings {
		cmd.Flags().String(s.flag, "", s.usage)
	}
	offer(cmd, "policy", policyNames...)
	offer(cmd, "then", "drop-newest", "drop-oldest", "fail")
	offer(cmd, "on-drop", "ack", "nack")
	offer(cmd, "on-shrink", "keep", "evict")
	t.flags(cmd)
	a.flags(cmd)
	return cmd
}

// patchEdges is the request that gives all edges the same settings, in one
// transaction.
func patchEdges(edges []string, settings any, t trial) call {
	c := call{method: http.MethodPatch, path: []string{"api", "v1", "edges"}, query: t.query()}
	body := settings
	if len(edges) == 1 {
		c.path = append(c.path, edges[0])
	} else {
		all := map[string]any{}
		for _, id := range edges {
			all[id] = settings
		}
		body = all
	}
	var err error
	if c.body, err = json.Marshal(body); err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}

// edgeChange splits the command line of edge set into edges and settings.
func edgeChange(flags *pflag.FlagSet, args []string) (edges []string, body map[string]any, err error) {
	var s settings
	for _, arg := range args {
		path, value, isSetting := strings.Cut(arg, "=")
		if !isSetting {
			if err := checkEdgeName("edge set", arg); err != nil {
				return nil, nil, err
			}
			edges = append(edges, edgeID(arg))
			continue
		}
		if err := s.set(path, value); err != nil {
			return nil, nil, err
		}
	}
	for _, e := range edgeSettings {
		if f := flags.Lookup(e.flag); f.Changed {
			if err := s.set(e.path, f.Value.String()); err != nil {
				return nil, nil, err
			}
		}
	}
	slices.Sort(edges)
	switch edges = slices.Compact(edges); {
	case len(edges) == 0:
		return nil, nil, usagef("edge set: name the edge, such as: pipectl edge set keep/out --policy drop-oldest")
	case len(s.list) == 0:
		return nil, nil, usagef("edge set: say what to change, such as: pipectl edge set '%s' --policy drop-oldest", edges[0])
	}
	return edges, s.body(), nil
}

// edgeID is the id of an edge as users may write it: keep/out for keep->out.
func edgeID(text string) string { return strings.Replace(text, "/", "->", 1) }

// checkEdgeName catches what is left of an edge when the shell took the > in it
// for a redirection.
func checkEdgeName(command, edge string) error {
	if from, cut := strings.CutSuffix(edge, "-"); cut {
		return usagef("%s: edge %q ends early: the shell took > for a redirection and wrote to a file; quote the edge, '%s->…', or write it with a slash, %s/…", command, edge, from, from)
	}
	return nil
}
