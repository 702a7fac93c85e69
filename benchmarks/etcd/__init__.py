"""A real etcd cluster under injected faults, recorded as consensus telemetry."""
