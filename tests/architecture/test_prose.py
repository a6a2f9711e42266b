"""What prose says about the project is compared with the project: the tree, commands, links, versions."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), PROJECT / "mlruns" / "README.md"])
README = (PROJECT / "README.md").read_text()
MAKEFILE = (PROJECT / "Makefile").read_text()
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())
PINS = dict(
    line.split("==") for line in (PROJECT / "constraints.txt").read_text().splitlines() if line[0] != "#"
)
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def tree_paths(text: str) -> list[str]:
    """Paths of the tree that is drawn by indentation in the code block under "The tree"."""
    block = re.search(r"## The tree\n+```\n(.*?)```", text, re.DOTALL)
    assert block, "the README draws no tree"
    folders: list[str] = []
    paths = []
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        name = line.split()[0]
        folders[depth:] = [name]
        paths.append("".join(folders))
    return paths


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_every_path_in_the_readme_s_tree_exists() -> None:
    paths = tree_paths(README)
    assert len(paths) > 10
    for path in paths:
        assert (PROJECT / path).is_dir() if path.endswith("/") else (PROJECT / path).is_file(), path


def test_every_package_is_in_the_readme_s_tree() -> None:
    packages = {f"{path.parent.name}/" for path in PROJECT.glob("[!.]*/__init__.py")}
    assert packages <= set(tree_paths(README))


@by_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert named <= targets()


@by_page
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@by_page
def test_every_module_that_a_page_runs_exists(page: Path) -> None:
    for module in re.findall(r"python -m ([a-z_][a-z_.]*[a-z])", page.read_text()):
        assert find_spec(module), module


@by_page
def test_every_source_file_that_a_page_names_exists(page: Path) -> None:
    for path in re.findall(r"`((?:edge_bundle|cryptoai_\w+|tests|docs)/[\w/.-]+)`", page.read_text()):
        assert (PROJECT / path).exists(), path


@by_page
def test_every_setting_that_a_page_names_is_read_by_the_code(page: Path) -> None:
    code = "".join(path.read_text() for path in PROJECT.glob("*_*/**/*.py"))
    code += (PROJECT / "tests" / "conftest.py").read_text()
    for name in set(re.findall(r"CRYPTOAI_[A-Z_]+", page.read_text())):
        assert name in code, name


def test_every_module_that_make_runs_exists() -> None:
    modules = set(re.findall(r"\$\(RUN\) -m (\w+(?:\.\w+)*)", MAKEFILE)) - {"benchmarks"}
    assert "cryptoai_assets.up" in modules
    assert [module for module in sorted(modules) if not find_spec(module)] == []


def test_make_alone_lists_every_target_of_the_readme_in_one_line_each() -> None:
    command = ["make", "--no-print-directory"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in listed.splitlines()]
    assert all(line[0] == "make" and line[2] for line in lines)
    assert set(re.findall(r"`make ([a-z]+)", README)) <= {line[1] for line in lines}


def test_bentoml_service_that_the_readme_serves_is_the_one_that_make_up_serves() -> None:
    served = re.search(r"bentoml serve (cryptoai_serving\.service):(\w+)", README)
    assert served
    assert f'"{served[1]}:{served[2]}"' in (PROJECT / "cryptoai_assets" / "up.py").read_text()
    assert f"class {served[2]}" in (PROJECT / "cryptoai_serving" / "service.py").read_text()


def test_newest_version_of_the_changelog_is_the_package_s() -> None:
    newest = re.search(r"^## (\S+)", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == SETTINGS["project"]["version"]


def test_first_screen_of_the_readme_has_commands_picture_setting_and_warning() -> None:
    first_screen = "\n".join(README.splitlines()[:20])
    for wanted in ("make demo", "make test", "![", "MARKET=live", "Not investment advice"):
        assert wanted in first_screen


def test_every_requirement_has_its_pin_and_no_pin_belongs_to_a_machine() -> None:
    project = SETTINGS["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    names = {normal(re.split(r"[\[<>=~! ]", requirement)[0]) for requirement in wanted} - {"cryptoai"}
    assert names <= {normal(name) for name in PINS}
    # PyTorch belongs to the extra that trains networks, and to the build without an accelerator's libraries.
    extras = project["optional-dependencies"].items()
    assert [extra for extra, needs in extras if any(need.startswith("torch") for need in needs)] == [
        "networks"
    ]
    assert not [name for name in PINS if re.search(r"-cu[0-9]+$|^triton$", name)]
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in PINS.values())


def test_acknowledgement_of_the_runbook_is_a_line_of_the_ledger(tmp_path: Path) -> None:
    runbook = (PROJECT / "docs" / "runbook.md").read_text()
    code = re.search(r'python -c "\n(from datetime.*?)"\n```', runbook, re.DOTALL)
    assert code
    read = """
import json
entry = Ledger(Path('data/ledger.db')).acknowledged('cryptoai-forecaster-sample', 1)
print(json.dumps([entry.kind, entry.actor]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code[1] + read], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["acknowledgement", "Your Name"]
