package main

import (
	"github.com/pipectl/pipectl/engine/export"
	"github.com/spf13/cobra"
)

func newExportCommand(std streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write what other programs need to watch a pipeline",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newExportAlertsCommand(std), newExportGrafanaCommand(std))
	return cmd
}

type exportOptions struct {
	file       string
	set        []string
	thresholds export.Thresholds
}

const exportAlertsLong = `Write alert rules for Prometheus about the pipeline of a file: edges that are deep or
full, drops where the file declares no loss, sources that lag, events in flight, slow
events, an open breaker, a stall, a refused reload, and books that do not add up.

Export them again when an edge's policy changes in the file. docs/runbook.md says for
each alert what it means and what to do; --runbook-url is where your people find it.`

func newExportAlertsCommand(std streams) *cobra.Command {
	o := exportOptions{thresholds: export.DefaultThresholds()}
	cmd := &cobra.Command{
		Use:   "alerts FILE",
		Short: "Write alert rules for Prometheus",
		Long:  exportAlertsLong,
		Example: `  pipectl export alerts pipeline.yaml > pipeline.rules.yml
  pipectl export alerts pipeline.yaml --utilization 0.9 --latency 30s
  pipectl export alerts pipeline.yaml | promtool check rules /dev/stdin`,
		Args:              oneFile,
		ValidArgsFunction: completeYAML,
		RunE: func(_ *cobra.Command, args []string) error {
			o.file = args[0]
			return runExportAlerts(std, o)
		},
	}
	f, t := cmd.Flags(), &o.thresholds
	f.IntVar(&t.QueueEvents, "queue-events", t.QueueEvents, "warn of an edge with more `EVENTS` queued")
	f.Float64Var(&t.Utilization, "utilization", t.Utilization, "warn of an edge that is fuller than this `SHARE`, above 0 to 1")
	f.DurationVar(&t.UtilizationFor, "utilization-for", t.UtilizationFor, "for this `TIME`")
	f.IntVar(&t.LagEvents, "lag", t.LagEvents, "warn of a source with more `EVENTS` to read")
	f.IntVar(&t.LagCritical, "lag-critical", t.LagCritical, "alert when it is more than these `EVENTS`")
	f.DurationVar(&t.LagCriticalFor, "lag-critical-for", t.LagCriticalFor, "for this `TIME`")
	f.IntVar(&t.InFlight, "in-flight", t.InFlight, "warn of a source with more `EVENTS` that are not settled")
	f.DurationVar(&t.Latency, "latency", t.Latency, "warn when 5 of 100 events take longer than this `TIME` from end to end, below 1m")
	f.DurationVar(&t.For, "for", t.For, "how much `TIME` a condition without a time of its own must hold")
	f.StringVar(&t.Runbook, "runbook-url", t.Runbook, "`URL` of the runbook in the alerts")
	f.StringArrayVar(&o.set, "set", nil, "change a value of the file, `PATH=VALUE`; may be repeated")
	return cmd
}

func runExportAlerts(std streams, o exportOptions) error {
	if err := o.thresholds.Validate(); err != nil {
		return usagef("--%w", err)
	}
	p, err := loadPipeline(std, o.file, o.set)
	if err != nil {
		return err
	}
	text, err := export.Alerts(p, o.thresholds)
	if err != nil {
		return err
	}
	_, err = std.Out.Write(text)
	return err
}

const exportGrafanaLong = `Write a dashboard for the pipeline of a file, in the JSON that Grafana 10 and later
import: an overview, and what edges, nodes, sources and sinks do. The data source is
chosen in the dashboard. Importing it again replaces it.`

func newExportGrafanaCommand(std streams) *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:               "grafana FILE",
		Short:             "Write a dashboard for Grafana",
		Long:              exportGrafanaLong,
		Example:           "  pipectl export grafana pipeline.yaml > dashboard.json",
		Args:              oneFile,
		ValidArgsFunction: completeYAML,
		RunE: func(_ *cobra.Command, args []string) error {
			o.file = args[0]
			return runExportGrafana(std, o)
		},
	}
	cmd.Flags().StringArrayVar(&o.set, "set", nil, "change a value of the file, `PATH=VALUE`; may be repeated")
	return cmd
}

func runExportGrafana(std streams, o exportOptions) error {
	p, err := loadPipeline(std, o.file, o.set)
	if err != nil {
		return err
	}
	text, err := export.Grafana(p)
	if err != nil {
		return err
	}
	_, err = std.Out.Write(text)
	return err
}
