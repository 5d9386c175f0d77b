"""Python and the packages, against what this package's metadata asks for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from agsm_bench.doctor.check import Check

PACKAGE = "agsm-bench"
NAMED = ("torch", "diffusers", "transformers")
"""Packages whose version is said also where it is fine."""


def packages(bits: bool) -> Iterator[Check]:
    """Python, the packages, and each extra; `bits`: whether the run loads a model in 8 bits."""
    try:
        about = metadata(PACKAGE)
    except PackageNotFoundError:
        yield Check("packages", PACKAGE, "missing", "It is not installed.", "pip install -e .")
        return
    asked, found = about["Requires-Python"] or "", platform.python_version()
    fits = SpecifierSet(asked).contains(found, prereleases=True)
    fix = "" if fits else f"Make an environment with Python {asked}."
    yield Check("packages", "Python", "ok" if fits else "missing", f"{found}, {asked} asked for", fix)
    requirements = [Requirement(text) for text in about.get_all("Requires-Dist") or ()]
    core = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    yield from _core(core)
    for extra in about.get_all("Provides-Extra") or ():
        yield _extra(extra, [each for each in requirements if each not in core and _belongs(each, extra)])
    if bits:
        yield from _core([Requirement("bitsandbytes")])


def _core(requirements: list[Requirement]) -> Iterator[Check]:
    """What is wrong, each by itself, or one line where nothing is."""
    wrong = {each: trouble for each in requirements if (trouble := _trouble(each))}
    for requirement, trouble in wrong.items():
        yield Check("packages", requirement.name, "missing", trouble, _install(str(requirement)))
    if not wrong:
        names = [each.name for each in requirements]
        said = [f"{name} {version(name)}" for name in names if name in NAMED or len(names) == 1]
        more = f", and {len(names) - len(said)} more" if len(names) > len(said) else ""
        yield Check("packages", "packages", "ok", ", ".join(said) + more)


def _extra(name: str, requirements: list[Requirement]) -> Check:
    wrong = [f"{each.name} {trouble}" for each in requirements if (trouble := _trouble(each))]
    if wrong:
        return Check("packages", f"[{name}]", "missing", "; ".join(wrong), _install(f"{PACKAGE}[{name}]"), needed=False)
    return Check("packages", f"[{name}]", "ok", f"{len(requirements)} packages", needed=False)


def _belongs(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is not None and requirement.marker.evaluate({"extra": extra})


def _trouble(requirement: Requirement) -> str:
    """What is wrong with a package; empty where nothing is."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return "not installed"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{found} installed, {requirement.specifier} asked for"


def _install(what: str) -> str:
    return f'pip install "{what}"'
