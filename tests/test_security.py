"""What the source may not do: deserialise code, run a shell, ask the web unguarded, listen, trust a file's markup."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for folder in ("agsm_bench", "trainers", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
CALLS = {
    *("eval", "exec", "compile", "__import__", "import_module", "importlib.import_module"),
    *("torch.load", "np.load", "torch.jit.load", "torch.hub.load", "tempfile.mktemp"),
    *("os.system", "os.popen", "subprocess.run", "subprocess.Popen"),
    *("requests.get", "requests.post", "requests.Session", "download_url_to_file"),
    *("ThreadingHTTPServer", "HTTPServer", "Environment", "Markup"),
}
MODULES = {
    *("pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml", "xml", "pty", "webbrowser", "ctypes"),
    *("subprocess", "socket", "http.server", "urllib.request", "ftplib", "telnetlib", "smtplib", "jsonpickle"),
}
ALLOWED = {
    "plugins.py": {"importlib.import_module"},  # of our own folders' names, and of installed entry points
    "cli/main.py": {"import_module"},  # of the table of commands
    "tokens/__init__.py": {"import_module"},  # of the table beside it
    "metrics/fid.py": {"torch.jit.load"},  # of one file, whose hash is looked at
    "pickles.py": {"torch.load"},
    "shapes/optimise.py": {"torch.load"},
    "frechet.py": {"np.load"},
    "scoring/features.py": {"np.load"},
    "shapes/build.py": {"np.load"},
    "shapes/clip_corpus.py": {"np.load"},
    "shapes/corpus.py": {"np.load"},
    "provenance.py": {"subprocess", "subprocess.run"},  # git, by a list of words
    "reproduce/execute.py": {"subprocess", "subprocess.Popen"},  # agsm-bench itself, by a list of words
    "locking.py": {"socket"},  # this machine's name
    "report/view/serve.py": {"http.server", "ThreadingHTTPServer"},  # on 127.0.0.1: test_view.py
    "report/pages.py": {"Environment"},  # which escapes: test_report_pages.py, test_view.py, test_side_by_side.py
    "addresses.py": {"requests.Session"},  # the guarded one
    "unigenbench/endpoint.py": {"requests.post"},  # to the address that the user names, without redirects
}


@cache
def nodes(path: Path) -> Sequence[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> Iterator[str]:
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in nodes(path) if isinstance(node, ast.Call))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT)).removeprefix("agsm_bench/")


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def test_nothing_dangerous_is_called_or_imported() -> None:
    found = {name_of(path): dangers(path) for path in SOURCES}
    assert {name: dangerous for name, dangerous in found.items() if dangerous} == ALLOWED


def dangers(path: Path) -> set[str]:
    called = {ast.unparse(call.func) for call in calls(path)} & CALLS
    return called | {name for name in imported(path) if any(f"{name}.".startswith(f"{each}.") for each in MODULES)}


def test_how_the_allowed_calls_are_made() -> None:
    for path in SOURCES:
        for call in calls(path):
            name, how = ast.unparse(call.func), keywords(call)
            assert not how.keys() & {"shell", "trust_remote_code", "allow_pickle"}, (path, name)
            assert how.get("verify") != "False", path
            if name == "torch.load":
                assert how["weights_only"] == "True", path
            if name in ("subprocess.run", "subprocess.Popen"):
                assert isinstance(call.args[0], ast.Name | ast.List), path
            if name == "Environment":
                assert how["autoescape"] == "True", path
            if name.endswith(".post"):
                assert how["allow_redirects"] == "False", path


def test_addresses_of_the_web_are_https() -> None:
    """But those of this machine, in the words of help and errors, and where plain http is told from it."""
    own = re.compile(r"http://(localhost|127\.0\.0\.1)")
    ours = {"addresses.py", "report/view/serve.py"}
    for path in (path for path in SOURCES if name_of(path) not in ours):
        for node in nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "http://" not in own.sub("", node.value), path


def test_every_download_has_a_checksum() -> None:
    from agsm_bench import plugins
    from agsm_bench.data.table import DATASETS
    from agsm_bench.scoring.selection import known

    for data in DATASETS.values():
        assert data.url is None or (data.url.startswith("https://") and len(data.checksum or "") == len("sha256:") + 64)
    metrics = [weight for name, metric in known().items() for weight in metric.variants[name].weights]
    detectors = [weight for name in plugins.names("detectors") for weight in plugins.load("detectors", name).weights]
    for weight in (*metrics, *detectors):
        assert (weight.repo is None) != (weight.url is None), weight
        if weight.url:
            assert weight.url.startswith("https://")
            # of GenEval's detector its makers state no more than that; it is read as numbers alone
            assert len(weight.sha256 or "") == (8 if "openmmlab" in weight.url else 64), weight


def test_templates_and_scripts_take_text_for_text() -> None:
    package = ROOT / "agsm_bench" / "report"
    for page in package.rglob("*.html"):
        ours = re.compile(r"\{\{ (css|script)\|safe \}\}|' class=\"\w+\"'\|safe")
        assert not re.search(r"\|\s*safe|autoescape|srcdoc|javascript:", ours.sub("", page.read_text())), page
    for script in package.rglob("*.js"):
        text = script.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", text)
