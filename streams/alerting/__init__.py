"""The alert service: anomalies in, alerts out, and out to whoever is on call. Start with ``service.run``.

What is decided is decided by ``detectors.alerts``; here is what carries it: Faust, its changelog table, clocks, sinks.
"""
