"""`python -m agsm_bench.cli.child COMMAND …`: `agsm-bench COMMAND …` for a parent, ending when the parent does.

The parent holds the other end of the standard input. Whatever ends the parent, a SIGKILL too, closes it, so that no
run is left behind that a second call of the parent would meet in the same folder.
"""

from __future__ import annotations

import os
import threading

from agsm_bench.__main__ import main
from agsm_bench.errors import ExitCode


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()
