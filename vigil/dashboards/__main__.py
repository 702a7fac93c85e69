"""Write Grafana's dashboards, or check that those in deploy/grafana are what the code makes.

python -m vigil.dashboards [--check]
python -m vigil.dashboards --out DIR --prefix other: --runbooks https://wiki/vigil/
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from vigil.dashboards import DASHBOARDS, rendered

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
PREFIX: Final = "vigil:"
RUNBOOKS: Final = "/public/vigil/"


def main() -> int:
    """Write or check; 1 when a file is not what the code makes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when a file is not current")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to; deploy/grafana/dashboards")
    parser.add_argument("--prefix", default=PREFIX, help="redis.key_prefix of the deployment (%(default)s)")
    parser.add_argument(
        "--runbooks", default=RUNBOOKS, help="where docs/runbooks can be read: put in front of it (%(default)s)"
    )
    asked = parser.parse_args()
    texts = {
        asked.out / f"{one.uid}.json": json.dumps(rendered(one, prefix=asked.prefix, runbooks=asked.runbooks), indent=1)
        + "\n"
        for one in DASHBOARDS
    }
    strangers = set(asked.out.glob("vigil-*.json")) - set(texts)
    if asked.check:
        stale = sorted(str(path) for path, text in texts.items() if not path.is_file() or path.read_text() != text)
        stale += sorted(map(str, strangers))
        if stale:
            print(f"not current: {', '.join(stale)}; run python -m vigil.dashboards", file=sys.stderr)  # noqa: T201
        return 1 if stale else 0
    asked.out.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text)
    for path in strangers:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
