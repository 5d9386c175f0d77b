"""Commands that die, or are signalled, at a given change of their files: at the same one every time.

As a program it imports what commands take long to import, and forks a process for each command that it reads, a JSON
line each. So a run that takes a second costs a second, and still is the real command line in a process of its own.
Processes that are started as usual get their points through `kill_site/sitecustomize.py` from $KILL_POINTS.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

IMPORTS = (
    *("agsm_bench.cli." + name for name in ("train", "eval", "score", "reproduce", "data", "view", "compare")),
    *("agsm_bench.training.loop", "agsm_bench.diffusion.variants", "agsm_bench.shapes.pairs", "scipy.stats"),
    *("agsm_bench.scoring.runs", "agsm_bench.data.encode", "agsm_bench.report.view.build", "rich.progress"),
    *("transformers.models.clip.modeling_clip", "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"),
    *("diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3", "agsm_bench.shapes.clip"),
)
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "shutil.rmtree")
"""What Python says of changes, besides opening for writing; os.replace and unlink are among them."""


@dataclass(frozen=True)
class Point:
    """When something happens to a command."""

    change: int | None = None
    """Just before this change of its files, from 1."""
    torn: int | None = None
    """Not before: as soon as this many bytes of what the change opens, or of another file, are written."""
    seconds: float | None = None
    """Or after so many seconds."""
    imported: str | None = None
    """Or as this module is imported."""
    signal: int = signal.SIGKILL


@dataclass(frozen=True)
class Request:
    """A command, and what happens to it."""

    arguments: Sequence[str]
    folder: str
    """Where it is typed, and whose changes count."""
    points: Sequence[Point] = ()
    small: Mapping[str, Any] = field(default_factory=dict)
    """Constants of modules that are smaller here: `module:NAME` -> value; a function is called with it."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """What became of a command."""

    code: int
    """Exit code, or minus the signal's number."""
    out: str
    err: str
    notes: str
    """Its changes, a line each."""

    @property
    def changes(self) -> int:
        return len(self.notes.splitlines())

    @property
    def killed(self) -> bool:
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ, -signal.SIGALRM)


class Warm:
    """The program, from outside."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, request: Request) -> Ended:
        """Types `agsm-bench ARGUMENTS` in the folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(request)) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def warm() -> Iterator[Warm]:
    """The program, while it is needed."""
    started = Warm()
    try:
        yield started
    finally:
        started.close()


def points(random: Random, changes: int, seconds: float) -> Iterator[Point]:
    """Endless random points of a command that makes so many changes in about so many seconds, a few by time alone."""
    while True:
        kind = random.random()
        if kind < 0.15:
            yield Point(seconds=random.uniform(0.01, seconds), signal=signal.SIGALRM)
        else:
            torn = random.choice((0, 1, 20, 100, 1000, 20000)) if kind > 0.6 else None
            yield Point(random.randint(1, changes), torn)


def _heed_signals() -> None:
    """Who runs the tests may ignore them, as `nohup` does, and so would the commands."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _serve() -> None:
    _heed_signals()
    for name in IMPORTS:
        import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        request = Request(**asked | {"points": [Point(**point) for point in asked["points"]]})
        pipes = [os.pipe() for _ in range(3)]
        if not (child := os.fork()):
            _become(request, [write for _, write in pipes])
            return
        for _, write in pipes:
            os.close(write)
        texts = [""] * len(pipes)
        readers = [Thread(target=_read, args=(read, texts, n)) for n, (read, _) in enumerate(pipes)]
        for reader in readers:
            reader.start()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for reader in readers:
            reader.join()
        print(json.dumps(asdict(Ended(code, *texts))), flush=True)


def _read(descriptor: int, texts: list[str], n: int) -> None:
    with open(descriptor, encoding="utf-8", errors="replace") as stream:
        texts[n] = stream.read()


def _become(request: Request, pipes: Sequence[int]) -> None:
    """This process is the command from here on."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(pipes[0], 1)
    os.dup2(pipes[1], 2)
    os.chdir(request.folder)
    os.environ |= request.environment
    sys.argv = ["agsm-bench", *request.arguments]
    _lessen(request.small)
    _arm(request, pipes[2])
    from agsm_bench.__main__ import main

    try:
        main()
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def environment(folder: Path, points: Sequence[Point] = (), word: str = "", **small: Any) -> dict[str, str]:
    """For a command that is started as usual and what it starts; the points are for those that `word` is typed for."""
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here / "kill_site"), str(here), *filter(None, [os.environ.get("PYTHONPATH")])])
    request = Request((word,), str(folder), points, small)
    return {"KILL_POINTS": json.dumps(asdict(request)), "PYTHONPATH": paths}


def arm_by_environment() -> None:
    """What `environment` asks for."""
    _heed_signals()
    asked = json.loads(os.environ["KILL_POINTS"])
    request = Request(**asked | {"points": [Point(**point) for point in asked["points"]]})
    (word,) = request.arguments
    _lessen(request.small)
    if not word or word in sys.orig_argv:
        _arm(request, os.open(os.devnull, os.O_WRONLY))


def _lessen(small: Mapping[str, Any]) -> None:
    for name, value in small.items():
        module, _, attribute = name.partition(":")
        found = import_module(module)
        if callable(function := getattr(found, attribute)):
            function(value)
        else:
            setattr(found, attribute, value)


def _arm(request: Request, notes: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    count = 0

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "import":
            _happen([point for point in request.points if point.imported == arguments[0]])
        path = _changed(event, arguments)
        if path and path.is_relative_to(request.folder):
            count += 1
            os.write(notes, f"{event} {path.relative_to(request.folder)}\n".encode())
            size = path.stat().st_size if event == "open" and not arguments[2] & os.O_TRUNC and path.exists() else 0
            _happen([point for point in request.points if point.change == count], size)

    sys.addaudithook(heard)
    for point in request.points:
        if point.seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, point.seconds)


def _changed(event: str, arguments: tuple[Any, ...]) -> Path | None:
    writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if not (writing or event in CHANGES) or not isinstance(arguments[0], str | os.PathLike):
        return None
    return Path(os.path.abspath(arguments[0]))


def _happen(points: Sequence[Point], size: int = 0) -> None:
    for point in points:
        if point.torn is None:
            os.kill(os.getpid(), point.signal)
        else:  # the kernel ends the process in the middle of the write that goes beyond
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + point.torn, resource.RLIM_INFINITY))


if __name__ == "__main__":
    _serve()
