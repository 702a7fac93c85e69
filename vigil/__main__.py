"""Entry point of the command line: runs the command asked for, and words every error in one line.

Exit codes: 0 done; 1 a check found something wrong; 2 a setting, an argument or a file cannot be used; 3 Kafka, Redis
or the worker cannot be reached or refused; 4 the embedded servers are missing or did not start; 70 an internal error;
130 stopped by Ctrl-C.
"""

import os
import sys

from vigil.cli.app import create_app
from vigil.cli.failures import report

__all__ = ["main"]

DEBUG_VARIABLE = "VIGIL_DEBUG"


def main() -> None:
    """Run the command line and end the process with its exit code."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments or os.environ.get(DEBUG_VARIABLE, "") not in {"", "0", "false"}
    try:
        create_app(arguments)(args=arguments, prog_name="vigil")
    except Exception as error:
        if debug:
            raise
        sys.exit(report(error))


if __name__ == "__main__":
    main()
