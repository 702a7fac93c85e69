"""The demo: a simulated fleet with labelled faults, a real worker, anomalies found live, and an honest table."""

from vigil.demo.results import DemoReport, StreamReport
from vigil.demo.run import DemoOptions, run_demo

__all__ = ["DemoOptions", "DemoReport", "StreamReport", "run_demo"]
