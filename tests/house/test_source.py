"""The rules of this house that no linter knows, held over every file of the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "gateway").rglob("*.py"))
OURS = sorted(path for room in ("gateway", "tests", "bench") for path in (ROOT / room).rglob("*.py"))
LONGEST = 400  # lines; a file that grows beyond it holds two things
TASKS = ROOT / "gateway" / "telemetry" / "tasks.py"


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            yield node.lineno, name


@named(OURS)
def test_no_file_is_too_long_to_be_read_at_once(path: Path) -> None:
    limit = LONGEST if path.is_relative_to(ROOT / "gateway") else 2 * LONGEST
    assert len(path.read_text("utf-8").splitlines()) <= limit


@named([path for path in SOURCES if "cli" not in path.parts])
def test_only_commands_print(path: Path) -> None:
    assert [line for line, name in calls(tree_of(path)) if name == "print"] == []


@named([path for path in SOURCES if path != TASKS])
def test_a_task_belongs_to_someone(path: Path) -> None:
    makers = {"create_task", "ensure_future"}
    assert [line for line, name in calls(tree_of(path)) if name in makers] == []


@named(OURS)
def test_every_exemption_is_narrow_and_says_why(path: Path) -> None:
    for line, comment in comments(path):
        for mark in re.finditer(r"#\s*(type:\s*ignore|noqa|mypy:|ruff:|pragma:)", comment):
            rest = comment[mark.start() :]
            narrow = re.match(r"# (type: ignore\[[a-z, -]+\]|noqa: [A-Z0-9, ]+?|fmt: \w+)(\s+# \S.{3,})?$", rest)
            assert narrow, f"line {line}: {rest}: name the rule it is about"
            assert narrow[2], f"line {line}: {rest}: give the reason after a second #"


def promises(path: Path) -> Iterator[tuple[int, str]]:
    """Public names that have something to say and say nothing."""
    tree = tree_of(path)
    if ast.get_docstring(tree) is None and path.name != "__main__.py":
        yield 1, "the module"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") and ast.get_docstring(node) is None:
                yield node.lineno, node.name
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            behaves = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
            protocol = any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
            if behaves and not protocol and ast.get_docstring(node) is None:
                yield node.lineno, node.name


@named(SOURCES)
def test_public_names_say_what_they_promise(path: Path) -> None:
    assert list(promises(path)) == []


MUTATORS = {"append", "add", "update", "setdefault", "pop", "popitem", "clear", "extend", "insert", "remove", "discard"}


def containers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Module-level names that hold something mutable."""
    mutable = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    makers = {"list", "dict", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter", "WeakKeyDictionary"}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            made = isinstance(node.value, ast.Call) and ast.unparse(node.value.func).rpartition(".")[2] in makers
            if (isinstance(node.value, mutable) or made) and ast.unparse(target) != "__all__":
                yield node.lineno, ast.unparse(target)


def changed(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Names whose content some statement changes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.lineno, ast.unparse(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            yield node.lineno, ast.unparse(node.func.value)


@named(SOURCES)
def test_no_module_holds_mutable_state(path: Path) -> None:
    """A table in capitals is a constant, as long as nothing writes to it."""
    tree = tree_of(path)
    held = [name for _, name in containers(tree)]
    assert [name for name in held if name != name.upper()] == []
    assert [(line, name) for line, name in changed(tree) if name in held] == []
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)] == []


def test_importing_does_no_work() -> None:
    """Each module is imported in one fresh interpreter, whose audit hook ends it on the first act."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        # Presidio's own imports act, which is why only an analysis worker makes them.
        if path.name != "__main__.py" and "detection" not in path.parts
    ]
    program = f"""
import importlib, os, sys, threading
acts = {{"socket.bind", "socket.connect", "subprocess.Popen", "os.system", "os.fork", "os.mkdir", "os.remove",
        "os.rename", "os.putenv"}}
seen = []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in acts or (writes and ".pyc" not in str(arguments[0])):
        seen.append(f"{{event}} {{arguments}}")
sys.addaudithook(watch)
for name in {modules!r}:
    importlib.import_module(name)
    if seen:
        sys.exit(f"{{name}}: {{seen}}")
started = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
sys.exit(f"threads: {{started}}" if started else 0)
"""
    done = subprocess.run([sys.executable, "-B", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
