"""What users install: a wheel that has everything in it, runs away from the checkout, and names what it needs."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "service" / "byreport"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, built without the network."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; install the test extra")
    into = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    built = subprocess.run([*command, str(into), str(ROOT)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (made,) = into.glob("*.whl")
    return made


def _relative(directory: Path, pattern: str, below: str) -> set[str]:
    return {
        f"byreport/{below}{path.relative_to(directory).as_posix()}"
        for path in directory.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_the_wheel_holds_the_rules_the_documents_the_schemas_and_the_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    for name in ("rules", "policy_docs"):
        assert _relative(ROOT / name, "*.yaml", f"{name}/") <= held
    assert _relative(ROOT / "schemas", "*", "schemas/") <= held
    assert _relative(PACKAGE, "*", "") <= held
    assert {"byreport/schemas/vocabulary.yaml", "byreport/data/hcpcs.csv", "byreport/py.typed"} <= held
    assert not [name for name in held if name.endswith((".db", ".pyc")) or name.startswith("tests")]
    assert [name for name in held if name.endswith("licenses/LICENSE")]


@pytest.mark.slow
def test_the_wheel_alone_decides_explains_and_replays(wheel: Path, tmp_path: Path) -> None:
    """In a fresh environment away from the checkout; only what byreport depends on is lent from this one."""
    environment = tmp_path / "with space" / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    packages = Path(
        subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()
    )  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "lent.pth").write_text("".join(f"{path}\n" for path in sorted(lent)))

    def byreport(*arguments: str, stdin: str = "") -> str:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BYREPORT"))}
        command = [str(python), "-m", "byreport", "--log", "decisions.db", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=clean, input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = [str(python), "-c", "import byreport; print(byreport.__file__)"]
    assert str(packages) in subprocess.run(place, cwd=tmp_path, capture_output=True, text=True).stdout
    claim = (ROOT / "examples" / "claims" / "02-eptinezumab-with-its-code.json").read_text()
    decision = json.loads(byreport("decide", "--json", "-", stdin=claim))
    assert decision["code"]["recommended"] == "J3032"
    assert "Fix before sending" in byreport("explain", decision["decision_id"])
    assert "the same decision" in byreport("replay", decision["decision_id"])
    assert "medicaid/TX" in byreport("payers")


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S)
    assert block is not None
    declared = {_normal(name) for name in re.findall(r'"([A-Za-z0-9_.-]+)', block[1])}
    imported = {name for path in PACKAGE.rglob("*.py") for name in _imports(path)}
    distributions = importlib.metadata.packages_distributions()
    distributions["durable_rules_engine"] = ["durable-rules"]  # the compiled module in it
    foreign = imported - set(sys.stdlib_module_names) - {"byreport"} - EXTRAS
    owners = {name: {_normal(owner) for owner in distributions.get(name, [name])} for name in foreign}
    assert not {name for name, found in owners.items() if not found & declared}
    assert not declared - {owner for found in owners.values() for owner in found}


EXTRAS = {"pyarrow", "pyspark"}
"""Imported only where a file or a cluster needs them; see the extras in pyproject.toml."""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_pyproject_and_the_package_have_one_version() -> None:
    from byreport import __version__

    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_no_python_newer_than_the_oldest_one_supported_is_needed() -> None:
    for path in PACKAGE.rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        newer = {"tomllib", "typing.Self", "ExceptionGroup"}
        assert not [name for name in newer if re.search(rf"\b{re.escape(name)}\b", path.read_text(encoding="utf-8"))]
