"""What can go wrong at the front door, as one tree; the command line prints each as one line with its code and hint.

VigilError
├── SettingsError        a setting is unknown, missing or invalid          exit 2
├── InputError           a file or an argument cannot be used              exit 2
├── ServiceError         Kafka, Redis or the worker cannot be reached      exit 3
├── EmbeddedError        the embedded servers are missing or do not start  exit 4
└── CheckError          `doctor`, `config check`, `schema --check`        exit 1
"""

from typing import ClassVar

__all__ = ["CheckError", "EmbeddedError", "InputError", "ServiceError", "SettingsError", "VigilError"]


class VigilError(Exception):
    """An error a person can act on: what happened, and what to do about it."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(VigilError):
    """A setting is unknown, missing or invalid; the message names it, its value and where that came from."""

    code = "settings"
    exit_code = 2


class InputError(VigilError):
    """A file or an argument cannot be used."""

    code = "input"
    exit_code = 2


class ServiceError(VigilError):
    """Kafka, Redis or the worker cannot be reached, or refused what was asked."""

    code = "service"
    exit_code = 3


class EmbeddedError(VigilError):
    """The embedded servers are not installed, or did not start."""

    code = "embedded"
    exit_code = 4


class CheckError(VigilError):
    """A check that was asked for found something wrong."""

    code = "check"
    exit_code = 1
