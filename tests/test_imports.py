"""Imports go one way, and plugins do not look into each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEVELS = (
    (
        *("types", "errors", "damage", "faults", "parallel", "stopping", "torchvision_ops"),
        *("addresses", "redaction", "terminal", "one_kernel"),
    ),
    (
        "stats",
        "student",
        "hypotheses",
        "seeds",
        "identity",
        "provenance",
        "jsonl",
        "locking",
        "folders",
        "tokens.header",
    ),
    (
        *("contracts", "protocol", "model_options", "weights", "variant", "manifest", "records"),
        *("summary_file", "store", "images", "shards", "detections", "plugins"),
        *(
            "metric",
            "weight_files",
            "pickles",
            "state_dicts",
            "frechet",
            "preprocessing",
            "pixel_pairs",
            "clip_encoder",
        ),
        *("benchmark", "columns", "detector", "opencv_resize", "mmdet_names", "editor", "editor_choice", "request"),
        "unigenbench.options",
        "scoring.features",
    ),
    (
        *("geneval", "geneval_prompts", "geneval_rules", "geneval_plausibility", "geneval_results", "mask2former"),
        *("data", "diffusion", "shapes", "tokens", "training", "unigenbench"),
    ),
    ("generate", "pie"),
    ("editing",),
    ("trainers", "benchmarks", "backbones", "metrics", "editors", "detectors"),
    ("geneval_colors",),
    ("detecting", "score", "scoring", "union", "planning", "evaluate", "rescore", "imported"),
    ("report", "measured", "distances", "differences", "baseline", "compare"),
    ("demo", "reproduce", "doctor", "push", "smoke"),
    ("cli",),
    ("__main__",),
)
"""Lowest first; a module imports from its own level and those below."""
EXCEPTIONS = {
    # the vocabulary is plain words, and the prompts of the shapes domain are made of them
    ("geneval_prompts", "shapes.vocabulary"),
    # for annotations only
    ("contracts", "diffusion.denoiser"),
    ("contracts", "diffusion.image_encoder"),
    ("contracts", "tokens.soft_tokens"),
    ("editor", "editing.predictor"),
    # a program of its own, which becomes the command line
    ("cli.child", "__main__"),
    # a study, run by hand
    ("shapes.sources_study", "metrics.denoising"),
    # the sample sheets take their prompts from the benchmark's
    ("shapes.show", "geneval_prompts"),
}
PLUGINS = ("trainers", "benchmarks", "backbones", "metrics", "editors", "detectors")


def modules() -> Iterator[tuple[str, Path]]:
    for folder, prefix in (("agsm_bench", ""), ("trainers", "trainers."), ("benchmarks", "benchmarks.")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = prefix + ".".join(path.relative_to(ROOT / folder).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imported(path: Path) -> set[str]:
    """Names of our own modules that a file imports, anywhere in it, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("agsm_bench"):
            base = node.module.removeprefix("agsm_bench").lstrip(".")
            found |= {base} if base else {alias.name for alias in node.names if not alias.name.startswith("_")}
    return found


def level(name: str) -> int | None:
    hits = [
        (len(entry), i) for i, entries in enumerate(LEVELS) for entry in entries if f"{name}.".startswith(f"{entry}.")
    ]
    return max(hits)[1] if hits else None


FILES = list(modules())


@pytest.mark.parametrize(("name", "path"), FILES, ids=[name for name, _ in FILES])
def test_imports_go_one_way(name: str, path: Path) -> None:
    own = level(name)
    if name in ("__init__", "shapes.__init__"):
        return
    assert own is not None, f"{name} has no level: add it to LEVELS"
    for target in imported(path):
        theirs = level(target)
        assert theirs is not None, f"{name} imports {target}, which has no level"
        assert theirs <= own or (name, target) in EXCEPTIONS, f"{name} imports {target} from a level above"


@pytest.mark.parametrize(("name", "path"), [f for f in FILES if f[0].startswith(PLUGINS)], ids=lambda v: str(v)[-30:])
def test_plugins_do_not_import_each_other(name: str, path: Path) -> None:
    kind = name.partition(".")[0]
    others = {target for target in imported(path) if target.startswith(PLUGINS) and target != name}
    assert not others, f"{kind} plugin {name} imports {others}"


@pytest.mark.parametrize(
    ("name", "path"), [f for f in FILES if f[0].startswith(("report", "cli"))], ids=lambda v: str(v)[-30:]
)
def test_reports_and_commands_import_no_torch_at_the_top(name: str, path: Path) -> None:
    heavy = {"torch", "diffusers", "transformers", "accelerate", "peft", "pandas", "matplotlib"}
    for node in ast.parse(path.read_text()).body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {n.partition(".")[0] for n in names} & heavy, f"{name} imports {names} at the top"
