"""House rules that a linter does not know: each is read off the source itself."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = ("edge_bundle", "cryptoai_assets", "cryptoai_serving", "cryptoai_monitoring")
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "core"}
# The one place per package that may read the environment.
ENVIRONMENT_READERS = {
    "cryptoai_assets/defs/resources.py",
    "cryptoai_serving/settings.py",
    "edge_bundle/device/settings.py",
}
# What tests must do without: a patched program is another program, and a sleep is a race that is lost later.
# asyncio.sleep is how a task lets the others run; a test waits for what it asserts, never for time.
BANNED_IN_TESTS = {"monkeypatch", "unittest.mock", "pytest_mock", "time.sleep"}


def sources(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((PROJECT / folder).rglob("*.py"))]
    assert found, folders
    return found


def place(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def names_used(tree: ast.AST) -> Iterator[str]:
    """Dotted names that are imported, read, or taken as an argument."""
    for node in ast.walk(tree):
        yield from own_names(node)


def own_names(node: ast.AST) -> Iterator[str]:
    """Names that a node itself stands for, without its children's."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield module
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
            yield f"{owner}.{attribute}"
        case ast.Name(id=name) | ast.arg(arg=name):
            yield name


def users_of(banned: set[str], paths: list[Path]) -> dict[str, set[str]]:
    used = {place(path): banned & set(names_used(ast.parse(path.read_text()))) for path in paths}
    return {path: names for path, names in used.items() if names}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def test_every_package_file_is_empty() -> None:
    filled = [place(path) for path in sources(*PACKAGES) if path.name == "__init__.py" and path.read_text()]
    assert filled == []


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in sources(*PACKAGES)}
    assert [place(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [place(path) for path in sources(*PACKAGES, "tests") if path.stem in VAGUE_NAMES] == []


def test_test_files_have_names_of_their_own_and_no_package_files() -> None:
    paths = sources("tests")
    names = [path.name for path in paths if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
    assert [place(path) for path in paths if path.name == "__init__.py"] == []


def test_no_modules_import_each_other_in_a_cycle(graph: grimp.ImportGraph) -> None:
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()


def reads_environment(tree: ast.AST) -> bool:
    """Whether it is read; giving a library its switch, ``os.environ[name] = value``, is none."""
    switches = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    rest = [node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr) and node not in switches]
    return any({"os.environ", "os.getenv", "os.environb"} & set(own_names(node)) for node in rest)


def test_environment_is_read_in_one_place_per_package() -> None:
    readers = {place(path) for path in sources(*PACKAGES) if reads_environment(ast.parse(path.read_text()))}
    assert readers <= ENVIRONMENT_READERS


def test_inference_and_quantization_have_one_door_each() -> None:
    def importers(*prefixes: str) -> set[str]:
        return {
            place(path)
            for path in sources(*PACKAGES)
            if any(name.startswith(prefixes) for name in names_used(ast.parse(path.read_text())))
        }

    assert importers("onnxruntime.quantization") <= {"cryptoai_assets/lib/quantization.py"}
    assert importers("onnxruntime.InferenceSession") <= {"edge_bundle/session.py"}


def test_modules_that_dagster_reads_keep_their_annotations_as_objects() -> None:
    users = users_of({"__future__.annotations"}, sources("cryptoai_assets"))
    assert users == {}


def test_tests_patch_nothing_and_sleep_never() -> None:
    own = Path(__file__)
    assert users_of(BANNED_IN_TESTS, [path for path in sources("tests") if path != own]) == {}


def test_every_module_says_in_its_first_line_what_it_is() -> None:
    mute = [
        place(path)
        for path in sources(*PACKAGES, "tests")
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert mute == []
