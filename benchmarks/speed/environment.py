"""The peers' own Python environment, made when it is first needed."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

__all__ = ["PEERS", "peers_python"]

PEERS: Final = Path(__file__).parent / "peers"
_REQUIREMENTS: Final = PEERS / "requirements.txt"
_FOLDER: Final = Path(__file__).resolve().parents[2] / ".venv-peers"


def peers_python() -> Path:
    """Return the interpreter that peers run with; the first call installs them, which takes a minute.

    Some of them ask for another version of the Kafka client than vigil does, so they cannot share its environment.

    Raises:
        RuntimeError: they cannot be installed; the message holds what the installer said.
    """
    python, mark = _FOLDER / "bin" / "python", _FOLDER / "installed.txt"
    wanted = _REQUIREMENTS.read_text()
    if mark.is_file() and mark.read_text() == wanted:
        return python
    sys.stderr.write(f"installing the peers into {_FOLDER.name}\n")
    venv.create(_FOLDER, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(_REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the peers cannot be installed: {done.stderr[-500:]}")
    mark.write_text(wanted)
    return python
