"""`agsm-bench reproduce`: its processes, its resume, what it prints and how it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import Cli
from test_cli import refused
from test_report import summary, write

from agsm_bench.report.fills import Size
from agsm_bench.reproduce.estimates import Estimate
from agsm_bench.reproduce.execute import Failure, State, execute, log_file
from agsm_bench.reproduce.found import Found
from agsm_bench.reproduce.plan import Job, plan
from agsm_bench.reproduce.wanted import by_tables

PYTHON = (sys.executable, "-S", "-c")
"""What a test's job runs is its only argument."""
QUICK = ("--quick", "--quick-steps", 3, "--quick-prompts", 6, "--quick-images", 1)


pytestmark = pytest.mark.usefixtures("project")


def job(name: str, code: str, needs: Sequence[str] = (), done: bool = False) -> Job:
    folders = tuple(Path("jobs") / need for need in needs)
    return Job("train", Path("jobs") / name, (code,), folders, Estimate(10, 60.0, 1), done)


# a file is there a moment before its first line is
AFTER_ANOTHER = "import os, time\nwhile not (os.path.exists('said') and os.path.getsize('said')): time.sleep(0.01)\n"
"""Code that waits until `say` of another job has been run."""


def say(*words: str) -> str:
    """Code that adds lines to a file that all jobs share."""
    return "; ".join(f"open('said', 'a').write('{word}\\n')" for word in words)


def said() -> list[str]:
    return Path("said").read_text().split()


def run(jobs: list[Job], slots: int) -> tuple[list[Failure], list[State]]:
    states: list[State] = []
    failures = execute(jobs, slots, lambda state, ended: states.append(state), PYTHON)
    return failures, states


def test_one_process_at_a_time_goes_in_order() -> None:
    jobs = [job(name, say(f"+{name}", f"-{name}")) for name in "abc"]
    assert run(jobs, 1)[0] == []
    assert said() == ["+a", "-a", "+b", "-b", "+c", "-c"]


def test_two_processes_run_side_by_side() -> None:
    """Each waits for the other, so one after the other they would never end."""
    wait = "import os, time\nopen('{}', 'w').close()\nwhile not os.path.exists('{}'): time.sleep(0.01)"
    jobs = [job("a", wait.format("a", "b")), job("b", wait.format("b", "a"))]
    assert run(jobs, 2)[0] == []


def test_a_job_waits_for_what_it_needs_and_others_overtake_it() -> None:
    slow = AFTER_ANOTHER + say("train")
    jobs = [job("train", slow), job("eval", say("eval"), needs=["train"]), job("other", say("other"))]
    assert run(jobs, 2)[0] == []
    assert said() == ["other", "train", "eval"]


def test_a_job_waits_for_all_that_it_needs() -> None:
    slow = AFTER_ANOTHER + say("tokens")
    jobs = [job("variant", say("variant")), job("tokens", slow), job("eval", say("eval"), needs=["variant", "tokens"])]
    assert run(jobs, 2)[0] == []
    assert said() == ["variant", "tokens", "eval"]


def test_a_failure_reaches_what_needs_it_by_way_of_others() -> None:
    jobs = [
        job("pairs", "raise SystemExit(3)"),
        job("variant", say("never"), needs=["pairs"]),
        job("tokens", say("tokens")),
        job("eval", say("never"), needs=["tokens", "variant"]),
    ]
    failures, _ = run(jobs, 1)
    assert [(failure.job.folder.name, failure.reason) for failure in failures] == [
        ("pairs", "it printed nothing"),
        ("variant", "not begun: it needs jobs/pairs"),
        ("eval", "not begun: it needs jobs/variant"),
    ]
    assert said() == ["tokens"]


def test_what_is_done_is_not_run() -> None:
    done = job("train", say("train"), done=True)
    log_file(done).parent.mkdir(parents=True, exist_ok=True)
    log_file(done).write_text("of a call that was killed then")
    _, states = run([done, job("eval", say("eval"), needs=["train"])], 2)
    assert said() == ["eval"]
    assert not log_file(done).exists()
    assert (states[0].done, states[0].total) == (1, 2)


def test_a_failure_is_told_with_its_last_line_and_the_others_still_run() -> None:
    jobs = [
        job("bad", "import sys; print('first'); print('agsm-bench: the last line', file=sys.stderr); sys.exit(3)"),
        job("after", say("never"), needs=["bad"]),
        job("dead", "import os; os.kill(os.getpid(), 9)"),
        job("good", say("good")),
    ]
    failures, states = run(jobs, 1)
    assert [(f.job.folder.name, f.reason) for f in failures] == [
        ("bad", "agsm-bench: the last line"),
        ("after", "not begun: it needs jobs/bad"),
        ("dead", "ended by signal 9; it printed nothing"),
    ]
    assert said() == ["good"]
    assert states[-1].done == 1
    assert log_file(jobs[0]).exists()
    assert not log_file(jobs[3]).exists()


def test_every_process_has_one_thread() -> None:
    run([job("a", "import os; open('said', 'w').write(os.environ['OMP_NUM_THREADS'])")], 1)
    assert said() == ["1"]


def test_progress_counts_up_to_all_and_no_minutes_left() -> None:
    _, states = run([job(name, "pass") for name in "abc"], 2)
    done = [state.done for state in states]
    assert done == sorted(done)
    assert (done[-1], states[-1].total, states[-1].minutes_left) == (3, 3, 0)
    assert all(len(state.running) <= 2 for state in states)


def test_an_interruption_ends_the_processes() -> None:
    def interrupt(state: State, ended: Job | None) -> None:
        if Path("said").exists():
            raise KeyboardInterrupt

    tell = "open('part', 'w').write(str(os.getpid())); os.rename('part', 'said')"
    code = f"import os, time; {tell}; time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        execute([job("a", code)], 1, interrupt, PYTHON)
    with pytest.raises(ProcessLookupError):
        os.kill(int(said()[0]), 0)


def test_a_child_ends_with_its_parent() -> None:
    """When the other end of its standard input is closed, whatever closed it."""
    command = [sys.executable, "-m", "agsm_bench.cli.child", "train", "agsm", "--out", "run"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(timeout=300) == 130


def one_row(project: Path) -> None:
    """Table 4 with AGSM's row alone."""
    tables = project / "results" / "tables"
    shipped = {path.name: path.read_text() for path in tables.iterdir()}
    tables.unlink()
    tables.mkdir()
    head = shipped["table_04.toml"].split("[[fill.rows]]")[0]
    (tables / "columns.toml").write_text(shipped["columns.toml"])
    (tables / "table_04.toml").write_text(
        head + '[[fill.rows]]\nrow = "dual"\nbackbone = "shapes-mmdit"\ntrainer = "agsm"\n'
    )


def test_killed_and_called_again_it_ends_with_the_table_of_an_unbroken_run(project: Path, cli: Cli) -> None:
    one_row(project)
    folder = Size(3, 6, 1).folder
    for each in plan(by_tables([4], "shapes", Size(3, 6, 1)), 1, Path("unbroken") / folder, Found()):
        # a process of its own, as the runs of the killed call: the tests' own measures less
        subprocess.run([sys.executable, "-m", "agsm_bench", *each.arguments], check=True, capture_output=True)
    code, unbroken, err = cli("reproduce", "--table", 4, *QUICK, "--out", "unbroken")
    assert (code, err) == (0, "")
    assert "QUICK LOOK, NO RESULT: 3 training steps, 6 prompts x 1 images." in unbroken
    assert "n 6" in unbroken

    command = [sys.executable, "-m", "agsm_bench", "reproduce", "--table", "4", *map(str, QUICK), "--out", "killed"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        log = Path("killed") / folder / "agsm-shapes-mmdit-steps-3-0" / "train.jsonl"
        wait_for(lambda: log.exists() or process.poll() is not None)
        process.kill()
    assert log.exists()
    code, out, err = cli("reproduce", "--table", 4, *QUICK, "--out", "killed", "--jobs", 1)
    assert (code, out) == (0, unbroken)
    assert "2 of 2 runs done, about 0.0 minutes left: geneval-agsm-shapes-mmdit-steps-3-0" in err

    before = contents(Path("killed"))
    assert cli("reproduce", "--table", 4, *QUICK, "--out", "killed") == (0, unbroken, "")
    assert contents(Path("killed")) == before
    whole = cli("report", "--table", 4)[1]
    assert "QUICK" not in whole
    assert "Runs left out" not in whole


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 900
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_failed_run_is_told_with_its_command(project: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    one_row(project)
    monkeypatch.setenv("AGSM_BENCH_SHAPES_WEIGHTS", str(project / "none"))
    code, out, err = cli("reproduce", "--table", 4, "--seeds", 1)
    assert code == 1
    assert "Table 4." in out
    failed, reason, *_, last = err.splitlines()
    command = "agsm-bench train agsm --backbone shapes-mmdit --seed 0 --out runs/reproduce/agsm-shapes-mmdit-0"
    assert failed == f"failed: {command}"
    assert reason.strip().startswith("agsm-bench: ")
    assert "agsm-bench shapes build shapes-mmdit" in reason
    assert last.startswith("agsm-bench: 2 runs failed.")


def test_complete_runs_are_printed_as_report_prints_them(project: Path, cli: Cli) -> None:
    """By whatever command they were made, and wherever they lie."""
    one_row(project)
    for seed, root in enumerate(("runs", "runs/reproduce", "results/runs")):
        write(f"mine-{seed}", summary(0.6 + seed / 100, "agsm", seed), Path(root))
    code, out, err = cli("reproduce", "--table", 4)
    assert (code, err) == (0, "")
    assert out == cli("report", "--table", 4)[1]
    assert "3 runs" in out
    assert "0.6" in out
    assert cli("reproduce", "--table", 4, "--dry-run")[1].count("complete") == 6
    assert "2 of 8 runs to do" in cli("reproduce", "--table", 4, "--seeds", 4, "--dry-run")[1]


def test_dry_run_lists_every_run_and_writes_nothing(project: Path, cli: Cli) -> None:
    code, out, err = cli("reproduce", "--table", 5, "--table", 4, "--seeds", 2, "--dry-run")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["run", "minutes", "MB", "for"]
    assert len(lines) == 2 + 23  # 5 x 2 trainings, evaluated, the negative half twice more, and the base
    agsm = next(line.split() for line in lines if line.startswith("agsm-shapes-mmdit-0 "))
    assert agsm == ["agsm-shapes-mmdit-0", "3.2", "1.4", "4,5"]
    assert lines[-1].startswith("23 of 23 runs to do: about ")
    assert "with --jobs 2, " in lines[-1]
    assert not (project / "runs").exists()


def test_dry_run_of_all_tables_and_of_a_quick_look(cli: Cli) -> None:
    whole = cli("reproduce", "--all", "--dry-run")[1]
    assert "geneval-agsm-shapes-unet-batch-8-2 " in whole
    quick = cli("reproduce", "--all", "--quick", "--dry-run")[1]
    assert "geneval-agsm-shapes-unet-batch-8-steps-150-0-" in quick
    assert len(quick.splitlines()) < len(whole.splitlines()) / 2  # one seed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--table", 14], ["1..13"]),
        (["--table", 11], ["No runs fill Table 11", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13"]),
        (["--table", 6, "--domain", "photo"], ["photo", "agsm-bench report --table N"]),
        (["--all", "--domain", "photo"], ["photo", "--domain shapes"]),
        ([], ["--table N", "--all"]),
        (["--table", 6, "--all"], ["--table N", "--all"]),
        (["--table", 6, "--jobs", 0], ["--jobs is 0", "at least 1"]),
        (["--table", 6, "--seeds", 0], ["--seeds is 0", "at least 1"]),
        (["--table", 6, "--quick", "--quick-steps", 0], ["--quick-steps is 0"]),
    ],
)
def test_usage_errors(cli: Cli, project: Path, arguments: list[object], words: list[str]) -> None:
    refused(cli("reproduce", *arguments), 2, *words)
    assert not (project / "runs").exists()


def test_a_folder_that_cannot_be_written(cli: Cli, project: Path) -> None:
    (project / "file").write_text("")
    refused(cli("reproduce", "--table", 6, "--out", "file/runs"), 2, "file/runs", "--out")


@pytest.mark.parametrize(
    "name", ["summary.json", "manifest.json", "config.json", "soft_tokens.safetensors", "variant.json"]
)
def test_a_damaged_run_folder_is_said_before_anything_runs(cli: Cli, name: str) -> None:
    folder = Path("runs/reproduce/agsm-shapes-mmdit-0")
    folder.mkdir(parents=True)
    (folder / name).write_text("{")
    refused(cli("reproduce", "--table", 6), 3, str(folder / name))


def test_a_second_call_at_the_same_time_is_refused(cli: Cli) -> None:
    from filelock import FileLock

    Path("runs/reproduce").mkdir(parents=True)
    with FileLock("runs/reproduce/.reproduce.lock"):
        refused(cli("reproduce", "--table", 6), 2, "runs/reproduce is being written by")
