"""Faults thrown at workers on a real Apache Kafka, and every verdict compared with an undisturbed run."""
