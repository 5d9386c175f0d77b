"""Set-up and checks: `python -m nox -s demo`, `python -m nox -s tests`."""

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests"]

UPSTREAM = ("image-reward==1.5", "hpsv2==1.2.0", "pytorch-fid==0.3.0")
"""What metrics are compared with; their own pins would take the environment apart."""
OFFLINE = {"HF_HUB_OFFLINE": "1"}
# small models: a second thread costs more than it brings, much more on a busy machine
TESTING = OFFLINE | {"OMP_NUM_THREADS": "1"}
# a process a core; a file's tests stay together, for what they share is made once
PARALLEL = ("--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile")

CORE = (
    *("cli", "plugins", "imports", "store", "evaluate", "images", "training_tracker", "tokens_stock"),
    *("tokens_released", "photo_backbones", "photo_single_file", "preference_objectives", "metric_image_reward"),
    *(
        "report_formats",
        "figures",
        "leaderboard",
        "compare",
        "view",
        "push",
        "doctor",
        "data_get",
        "data_unpack",
        "scoring_sources",
    ),
    *("unigenbench_judge", "determinism", "security", "security_files", "security_secrets", "security_web"),
)
"""Test files that together use every dependency, in about three minutes: no extras, no network, no browser."""


def install(session: nox.Session, *what: str) -> None:
    """Installs the tested set of packages."""
    session.install("-c", "constraints.txt", *what)


@nox.session
def demo(session: nox.Session) -> None:
    """Train AGSM on the miniature, evaluate it beside its base, write demo/report.html."""
    install(session, "-e", ".")
    session.run("agsm-bench", "demo", *session.posargs, env=OFFLINE)


def install_all(session: nox.Session) -> None:
    """With the extras and what metrics are compared with."""
    install(session, "-e", ".[dev,metrics]")
    session.install("--no-deps", *UPSTREAM)


@nox.session
def tests(session: nox.Session) -> None:
    """Lint, types, the default test suite, and the smoke against its baseline."""
    install_all(session)
    check_style(session)
    session.run("pytest", *PARALLEL, *session.posargs, env=TESTING)
    if not session.posargs:
        session.run("agsm-bench", "smoke", env=TESTING)


@nox.session
def gate(session: nox.Session) -> None:
    """The smoke alone: a short training and evaluation, compared with results/baselines/smoke.json."""
    install(session, "-e", ".")
    session.run("agsm-bench", "smoke", *session.posargs, env=TESTING)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types alone."""
    install(session, "-e", ".[dev]")
    check_style(session)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take minutes."""
    install_all(session)
    session.run("pytest", "-m", "slow", *session.posargs, env=TESTING)


def core(session: nox.Session, resolution: str) -> None:
    """The core suite with the versions that uv finds for the ranges of pyproject.toml, without constraints.txt."""
    session.install("uv")
    python = f"{session.bin}/python"
    session.run("uv", "pip", "install", "--python", python, "--upgrade", "--resolution", resolution, "-e", ".[dev]")
    session.run("pytest", *PARALLEL, *(f"tests/test_{name}.py" for name in CORE), *session.posargs, env=TESTING)


@nox.session
def lowest(session: nox.Session) -> None:
    """The core suite on the floors of pyproject.toml."""
    core(session, "lowest-direct")


@nox.session
def newest(session: nox.Session) -> None:
    """The core suite on the newest that the ranges of pyproject.toml allow."""
    core(session, "highest")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of the tested set; asks PyPI, and fails for a package that it knows nothing of."""
    session.install("pip-audit")
    session.run("pip-audit", "--strict", "--no-deps", "--disable-pip", "-r", "constraints.txt", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed, as ratios measured in one process, into results/bench.json and BENCH.md; `-- whole` takes an hour."""
    install_all(session)
    session.run("python", "tests/bench/run.py", *session.posargs, env=OFFLINE)


def check_style(session: nox.Session) -> None:
    """ruff and mypy."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "agsm_bench", "trainers", "benchmarks")
