"""The statistical detector: every node against its own slow baseline, combined as normal telemetry combines."""
