"""Measuring detectors on labelled recordings, beside simple baselines, in one run."""
