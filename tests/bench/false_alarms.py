"""How often the smoke fails though nothing is broken: `python tests/bench/false_alarms.py --out DIR [--seeds N]`.

Trains the smoke with seeds that the baseline does not have, compares each with it, and prints a line a seed and the
number of alarms. `--wrong-sign` breaks the objective, and counts how often that is seen. Resumes: seeds whose run is
there are not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agsm_bench.baseline import read_side
from agsm_bench.compare import compare
from agsm_bench.measured import read_run
from agsm_bench.smoke import baseline_file, run_smoke
from agsm_bench.training import guided

FIRST = 100
"""Of the seeds; the baseline's are below."""


def break_sign() -> None:
    """The target is guided away from the matched caption."""
    right = guided.plackett_luce
    guided.plackett_luce = lambda predictions, reward: -right(predictions, reward)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--wrong-sign", action="store_true")
    given = parser.parse_args()
    if given.wrong_sign:
        break_sign()
    base, alarms = read_side(baseline_file()), 0
    for seed in range(FIRST, FIRST + given.seeds):
        root = given.out / str(seed)
        if not (root / "geneval" / "summary.json").is_file():
            run_smoke(root, seed, lambda *_: None)
        found = compare(read_run(root / "geneval"), base)
        alarms += int(bool(found.code))
        tested = (each for each in found.findings if each.tested)
        said = "  ".join(f"{each.name} {each.value:.5f} p {each.p_worse:.3f}" for each in tested)
        print(f"seed {seed}: {said}  {'ALARM' if found.code else 'fine'}", flush=True)
    print(f"{alarms} {'alarms' if given.wrong_sign else 'false alarms'} in {given.seeds} seeds")


if __name__ == "__main__":
    main()
