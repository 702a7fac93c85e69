"""Fleets to try vigil on: coherent telemetry with benign look-alikes, injected faults and their truth."""

from vigil.simulator.consensus import ConsensusFleet, simulate_consensus
from vigil.simulator.faults import FAULT_KINDS, WHOLE_CLUSTER, Fault, FaultPlan, FaultPlanError
from vigil.simulator.nodes import INCIDENT_KINDS, NodeFleet, simulate_nodes
from vigil.simulator.recording import RecordingFormatError, write_recording
from vigil.simulator.simulation import Node, SimulatedRecord, Simulation

__all__ = [
    "FAULT_KINDS",
    "INCIDENT_KINDS",
    "WHOLE_CLUSTER",
    "ConsensusFleet",
    "Fault",
    "FaultPlan",
    "FaultPlanError",
    "Node",
    "NodeFleet",
    "RecordingFormatError",
    "SimulatedRecord",
    "Simulation",
    "simulate_consensus",
    "simulate_nodes",
    "write_recording",
]
