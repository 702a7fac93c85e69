"""Peers doing the least that counts as the same: decode a record, keep its node's last 30 steps, take a mean.

Each is a program of its own that imports nothing of vigil: it runs in an environment of the peers
(``requirements.txt``), since some of them ask for other versions of the Kafka client. Its standard output is two lines,
``{"records": N, "clock": S, "cpu": S}``: after the first records, and when the backlog is worked off.
"""
