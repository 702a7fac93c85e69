"""river's half-space trees on steps from standard input (a JSON array of objects): scores, then learns each."""

import json
import sys
import time

from river import anomaly, compose, preprocessing


def main() -> None:
    """Measure and print."""
    steps = json.load(sys.stdin)
    model = compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1))
    for step in steps[:300]:
        model.learn_one(step)
    began = time.process_time()
    for step in steps:
        model.score_one(step)
        model.learn_one(step)
    seconds = time.process_time() - began
    sys.stdout.write(json.dumps({"steps_per_second": len(steps) / seconds}) + "\n")


if __name__ == "__main__":
    main()
