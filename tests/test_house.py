"""The house: what README, Makefile, lock file and packages promise."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import r2b

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCRIPTS = sorted(PROJECT["project"]["scripts"])
FOLDERS = ("backends", "frontend", "hw", "ir", "sim", "train")
TEXT = {".py", ".md", ".toml", ".yml", ".j2", ".lock", ".hpp", ".cpp", ".vlt", ""}


def sources() -> list[Path]:
    """Every text file of the project, without what tools leave behind."""
    tops = [*FOLDERS, "r2b", "tests", "docs", "examples", "benchmarks", ".ci", ".github"]
    paths = [path for top in tops for path in (ROOT / top).rglob("*")]
    paths += ROOT.glob("*")
    files = [path for path in paths if path.is_file() and path.suffix in TEXT]
    return [path for path in files if not {"__pycache__", ".r2b"} & set(path.parts)]


# ---------------------------------------------------------------------------------- public surface


def test_public_names():
    assert r2b.__all__ == ["Options", "Result", "UserError", "__version__", "compile"]
    for name in r2b.__all__:
        assert getattr(r2b, name) is not None


def test_no_other_names():
    with pytest.raises(AttributeError, match=r"^module 'r2b' has no attribute 'transpile'$"):
        _ = r2b.transpile


def test_importing_r2b_loads_no_torch():
    code = "import sys, r2b, r2b.cli_compile, r2b.cli_sim; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -------------------------------------------------------------------------------- console scripts


def main(script: str):
    module, _, function = PROJECT["project"]["scripts"][script].partition(":")
    return getattr(importlib.import_module(module), function)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_with_examples(script, capsys):
    assert main(script)(["--help"]) == 0
    found = capsys.readouterr().out
    assert "Examples:" in found
    assert f"\n      {script} " in found
    assert "Exit status: 0" in found


@pytest.mark.parametrize("script", SCRIPTS)
def test_version(script, capsys):
    assert main(script)(["--version"]) == 0
    assert capsys.readouterr().out == f"r2b {r2b.__version__}\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_installed(script):
    done = subprocess.run(
        [Path(sys.executable).with_name(script), "--version"], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == f"r2b {r2b.__version__}\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_options_every_command_has(script, capsys):
    main(script)(["--help"])
    found = capsys.readouterr().out
    for option in ("--help", "--version", "-q, --quiet", "-v, --verbose", "--json"):
        assert option in found, option


# ---------------------------------------------------------------------------------------- packaging


def test_every_package_is_listed():
    homes = [path.parent for top in FOLDERS for path in (ROOT / top).rglob("__init__.py")]
    names = {"r2b." + ".".join(home.relative_to(ROOT).parts) for home in homes}
    own = {f"r2b.{path.parent.name}" for path in (ROOT / "r2b").glob("*/__init__.py")}
    own -= {f"r2b.{folder}" for folder in FOLDERS}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names | own | {"r2b"}


def test_links_are_relative():
    for folder in FOLDERS:
        link = ROOT / "r2b" / folder
        assert link.is_symlink()
        assert link.readlink() == Path("..") / folder


def test_version_of_the_installed_package():
    assert distribution("r2b").version == r2b.__version__


def test_license():
    text = (ROOT / "LICENSE").read_text()
    assert text.lstrip().startswith("Apache License")
    assert PROJECT["project"]["license"] == "Apache-2.0"


# ---------------------------------------------------------------------------------------- lock file


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def name(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def test_lock_names_plain_releases():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    plain = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.]*|#.*")
    assert [line for line in lines if not plain.fullmatch(line)] == []


def test_lock_fits_every_range():
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *extras["train"], *extras["test"]]
    found = {name(key): version for key, version in locked().items()}
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name != "r2b":
            assert requirement.specifier.contains(found[name(requirement.name)]), text
            assert any(item.operator in ("<", "==") for item in requirement.specifier), text


# ----------------------------------------------------------------------------- README and Makefile


def rules() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_make_commands_exist(page):
    found = re.findall(
        r"(?:^|`|[A-Z]=\S* )make ([a-z-]+)\b", (ROOT / page).read_text(), re.MULTILINE
    )
    assert found
    assert set(found) <= rules()


def test_the_two_commands_stand_in_the_readme():
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text


def test_ci_runs_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_links_in_the_pages_lead_somewhere():
    pages = [page for page in sources() if page.suffix == ".md"]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_paths_of_one_machine():
    places = re.compile("|".join(("/ho" + "me/", "/wo" + "rk/", "/ro" + "ot/", "/op" + "t/")))
    found = [path for path in sources() if places.search(path.read_text(errors="replace"))]
    assert found == []


def test_no_noqa_and_no_skips():
    marks = re.compile("# no" + r"qa|pytest\.sk" + r"ip|mark\.sk" + r"ip|importor" + "skip")
    found = [path for path in sources() if path.suffix == ".py" and marks.search(path.read_text())]
    assert found == []
