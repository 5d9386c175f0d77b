"""Does the jobs of a plan: so many processes at once, a job after what it needs, the others still when one fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from agsm_bench.reproduce.estimates import STARTUP
from agsm_bench.reproduce.plan import Job

CHILD = (sys.executable, "-m", "agsm_bench.cli.child")
UNITS = {"pairs": "preferences.jsonl", "train": "train.jsonl", "eval": "samples.jsonl"}
"""The file that gets a line for every pair, step or image."""
POLL = 0.2
PATIENCE = 15.0
"""Seconds that the processes have for ending; a scheduler kills after 30."""
TRUSTED = 30.0
"""Seconds of work done after which the measured pace replaces the estimate."""


@dataclass(frozen=True)
class Failure:
    """A run that did not end well, or was not begun."""

    job: Job
    reason: str


@dataclass(frozen=True)
class State:
    """How far a plan is."""

    done: int
    total: int
    minutes_left: float
    running: tuple[str, ...]


Notice = Callable[[State, Job | None], None]
"""Told of the state, several times a second, and of each job when it has ended well."""


def minutes_left(jobs: Sequence[Job], slots: int, pace: float = 1.0) -> float:
    """Minutes until all jobs are done, `slots` at a time, if estimated seconds last `pace` seconds each."""
    left = {job.folder: (_seconds_left(job), job.needs) for job in jobs if not job.done}

    def chain(folder: Path) -> float:
        """Until this job is done, with what it waits for."""
        seconds, needs = left.get(folder, (0.0, ()))
        return seconds + max(map(chain, needs), default=0.0)

    shared = sum(seconds for seconds, _ in left.values()) / slots
    return max(shared, max(map(chain, left), default=0.0)) * pace / 60


def execute(jobs: Sequence[Job], slots: int, notice: Notice, command: Sequence[str] = CHILD) -> list[Failure]:
    """Does every job that is not done and returns those that failed; ends its processes when it is interrupted.

    Args:
        jobs: each after those that it needs.
        slots: processes at once, one thread each.
        notice: hears of the progress.
        command: what a job's arguments are given to; it is to end when its standard input does.
    """
    for job in jobs:
        if job.done:  # a call that was killed while the job ended has left it
            log_file(job).unlink(missing_ok=True)
    execution = Execution(list(jobs), slots, notice, command)
    with ExitStack() as stack:
        stack.callback(execution.stop)
        while execution.step():
            time.sleep(POLL)
    return execution.failures


@dataclass
class Execution:
    """Jobs that wait, run, are done or have failed."""

    jobs: list[Job]
    slots: int
    notice: Notice
    command: Sequence[str]
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = [job for job in self.jobs if not job.done]
        self.finished = {job.folder for job in self.jobs if job.done}
        self.running: dict[Path, tuple[Job, subprocess.Popen[bytes], float]] = {}
        self._work = sum(map(_seconds_left, self.waiting))
        self._busy = 0.0

    def step(self) -> bool:
        """Collects what has ended and starts what can be; False when nothing is left."""
        for job, process, since in list(self.running.values()):
            if process.poll() is not None:
                self._collect(job, process, since)
        for job in list(self.waiting):
            self._drop_or_start(job)
        self.notice(self._state(), None)
        return bool(self.waiting or self.running)

    def stop(self) -> None:
        """Ends what still runs; the runs keep what they have, trainings the step that they are at."""
        processes = [process for _, process, _ in self.running.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + PATIENCE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _drop_or_start(self, job: Job) -> None:
        failed = {failure.job.folder for failure in self.failures}
        if lost := next((need for need in job.needs if need in failed), None):
            self.waiting.remove(job)
            self.failures.append(Failure(job, f"not begun: it needs {lost}"))
        elif len(self.running) < self.slots and self.finished.issuperset(job.needs):
            self.waiting.remove(job)
            self.running[job.folder] = (job, self._start(job), time.monotonic())

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        with log_file(job).open("wb") as log:
            return subprocess.Popen(
                [*self.command, *job.arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "1000"},
            )

    def _collect(self, job: Job, process: subprocess.Popen[bytes], since: float) -> None:
        del self.running[job.folder]
        self._busy += time.monotonic() - since
        if process.stdin:
            process.stdin.close()
        if process.returncode == 0:
            self.finished.add(job.folder)
            log_file(job).unlink(missing_ok=True)
            self.notice(self._state(), job)
        else:
            self.failures.append(Failure(job, _last_line(log_file(job), process.returncode)))

    def _state(self) -> State:
        now = time.monotonic()
        unfinished = [*self.waiting, *(job for job, _, _ in self.running.values())]
        done = self._work - sum(map(_seconds_left, unfinished))
        busy = self._busy + sum(now - since for _, _, since in self.running.values())
        pace = busy / done if done > TRUSTED else 1.0
        names = tuple(folder.name for folder in self.running)
        return State(len(self.finished), len(self.jobs), minutes_left(unfinished, self.slots, pace), names)


def log_file(job: Job) -> Path:
    """What a job's process prints; it is there while the job runs, and where it failed."""
    return job.folder.with_name(job.folder.name + ".log")


def _seconds_left(job: Job) -> float:
    """Of the estimate, by the lines that the job has written so far; start and end count until it is done."""
    try:
        lines = (job.folder / UNITS[job.kind]).read_bytes().count(b"\n")
    except OSError:
        lines = 0
    return STARTUP + (job.estimate.seconds - STARTUP) * max(0.0, 1 - lines / job.estimate.units)


def _last_line(log: Path, code: int) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    # the last line of a framed message is the frame
    said = next((line for line in reversed(lines) if any(map(str.isalnum, line))), "it printed nothing")
    return said if code > 0 else f"ended by signal {-code}; {said}"
