"""Certificates made on the spot, each its own authority."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificate(NamedTuple):
    """PEM files; `keystore` holds key and certificate together, as Kafka wants them."""

    file: Path
    key: Path
    keystore: Path


def make_certificate(directory: Path, name: str) -> Certificate:
    """Make a certificate for this machine that is valid for two days."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made on the spot: needs openssl")
    made = Certificate(*(directory / f"{name}.{kind}" for kind in ("pem", "key", "keystore.pem")))
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command += ["-keyout", str(made.key), "-out", str(made.file)]
    subprocess.run(command, check=True, capture_output=True)
    made.keystore.write_text(made.key.read_text() + made.file.read_text())
    return made
