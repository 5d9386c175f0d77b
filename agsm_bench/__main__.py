"""`python -m agsm_bench` is `agsm-bench`."""

from __future__ import annotations

import sys

from agsm_bench.stopping import answer_signals, exit_code, leave_signals


def main() -> None:
    """The command line of a process of its own, which signals end without a traceback, also while it imports."""
    answer_signals()
    try:
        from agsm_bench.cli.main import main as run

        run()
    except KeyboardInterrupt:
        print("agsm-bench: Interrupted. Run the same command to go on.", file=sys.stderr)
        sys.exit(exit_code())
    finally:
        leave_signals()


if __name__ == "__main__":
    main()
