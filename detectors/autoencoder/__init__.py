"""The reference BiLSTM autoencoder: the yardstick that every other detector of consensus telemetry has to beat.

``detector`` scores in ONNX Runtime; ``training`` and what it imports need the extra ``train`` (torch). Import names
from the modules themselves: this package imports nothing, so that scoring never pays for training.
"""
