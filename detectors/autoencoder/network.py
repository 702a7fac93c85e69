"""The reference autoencoder as a torch module (SPEC section 3): two BiLSTMs in, attention, 16 numbers, two BiLSTMs out.

Only training imports this module; inference runs the exported graph and never needs torch.
"""

from typing import Final

import torch
from torch import Tensor, nn

LATENT: Final = 16
DROPOUT: Final = 0.2
REFERENCE_FEATURES: Final = 12
REFERENCE_WINDOW: Final = 30
REFERENCE_PARAMETERS: Final = 697_997


class Attention(nn.Module):
    """Additive attention over time: Linear, tanh, Linear to one number a step, softmax over the steps, weighted sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)
        self.weigh = nn.Linear(width, 1)

    def forward(self, steps: Tensor) -> Tensor:
        """Pool (n, length, width) into (n, width)."""
        weights = torch.softmax(self.weigh(torch.tanh(self.project(steps))), dim=1)
        return (weights * steps).sum(dim=1)


class Block(nn.Module):
    """A bidirectional LSTM, batch normalisation over the time positions, dropout."""

    def __init__(self, inputs: int, hidden: int, window: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, hidden, batch_first=True, bidirectional=True)
        self.norm = nn.BatchNorm1d(window)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, steps: Tensor) -> Tensor:
        """Map (n, length, inputs) to (n, length, 2 * hidden)."""
        hidden, _ = self.lstm(steps)
        out: Tensor = self.dropout(self.norm(hidden))
        return out


class Autoencoder(nn.Module):
    """Reconstruct a window of scaled steps through 16 numbers.

    Args:
        features: inputs a step.
        window: steps in a window; the batch normalisation has one channel for each.

    Raises:
        AssertionError: with 12 features and 30 steps the network is not the reference's 697,997 parameters.
    """

    def __init__(self, features: int = REFERENCE_FEATURES, window: int = REFERENCE_WINDOW) -> None:
        super().__init__()
        self.features = features
        self.window = window
        self.encode_wide = Block(features, 128, window)
        self.encode_narrow = Block(256, 64, window)
        self.attention = Attention(128)
        self.squeeze = nn.Linear(128, LATENT)
        self.expand = nn.Linear(LATENT, 128)
        self.decode_narrow = Block(128, 64, window)
        self.decode_wide = Block(128, 128, window)
        self.output = nn.Linear(256, features)
        if (features, window) == (REFERENCE_FEATURES, REFERENCE_WINDOW) and count(self) != REFERENCE_PARAMETERS:
            raise AssertionError(f"{count(self)} parameters, the reference has {REFERENCE_PARAMETERS}")

    def forward(self, steps: Tensor) -> Tensor:
        """Map scaled windows (n, window, features) to their reconstruction of the same shape."""
        latent = self.squeeze(self.attention(self.encode_narrow(self.encode_wide(steps))))
        repeated = self.expand(latent).unsqueeze(1).expand(-1, self.window, -1)
        out: Tensor = self.output(self.decode_wide(self.decode_narrow(repeated)))
        return out


def count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
