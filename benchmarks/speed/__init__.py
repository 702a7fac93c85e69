"""Speed side by side with peers, on the same records in the same run: ``python -m benchmarks.run``."""
