"""The image's layers carried out into folders and measured; the Dockerfile and docker-compose.yml before other judges.

What the build installs is fetched by pip as the Dockerfile says, for a Python 3.13 where this machine has one. Two
judges come from npm: dockerfile-utils, a linter, and dclint, which carries the compose specification's JSON schema.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.compat.node_sdk import HERE, installed, run_script
from tests.support.compose import FILE, compose
from tests.support.image import BASE_BYTES, DOCKERFILE, LEFT_OUT, Layers, size

pytestmark = [pytest.mark.compat, pytest.mark.slow]
MOST_BYTES = {"core": 300_000_000, "audio": 500_000_000}
SOUND = ("numpy", "pyloudnorm", "scipy", "soundfile")
# Every room of ours and every package that it stands on: stripped libraries load, or they do not.
IMPORTS = """
import importlib, pkgutil, sys
for package in ("app", "batchwright", "config", "workers"):
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not found.name.startswith(("app.bench.peers", "app.tables")) and "__main__" not in found.name:
            importlib.import_module(found.name)
import blake3, brotli, flower, hiredis, orjson, pyreqwest, uvloop, zstandard
for name in sys.argv[1:]:
    importlib.import_module(name)
print(sys.modules["config"].__file__)
"""


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Layers:
    if shutil.which("strip") is None:
        pytest.skip("there is no `strip` here, which the build takes from Debian's binutils")
    return Layers(tmp_path_factory.mktemp("layers"), _python_of_the_image())


@pytest.mark.parametrize("target", ["core", "audio"])
def test_a_target_is_as_small_as_promised_and_what_is_in_it_works(layers: Layers, target: str) -> None:
    # When its instructions are carried out
    root = layers.make(target)
    # Then base and layers together are small enough
    together = BASE_BYTES + size(root)
    assert together < MOST_BYTES[target], f"{size(root) / 1e6:.0f} MB over its base"
    # and nothing but what belongs to a container was left out
    assert {line.split()[0] for line in layers.left_out} <= set(LEFT_OUT)
    # and all of our code runs on the packages of this target alone
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root / "opt/batchwright"), "HOME": str(root)}
    python, sound = root / "opt/venv/bin/python", SOUND if target == "audio" else ()
    done = subprocess.run(
        [python, "-c", IMPORTS, *sound], env=environ, cwd=root / "data", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(root)
    # and its program answers
    program = (root / "usr/local/bin/batchwright").read_text()
    environ["PATH"] = f"{root}/opt/venv/bin:{environ['PATH']}"
    said = subprocess.run(
        ["sh", "-c", program.partition("\n")[2], "batchwright", "version"],
        env=environ,
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert said.stdout.startswith("batchwright "), said.stderr


def test_a_linter_finds_nothing_in_the_dockerfile_and_something_in_a_bad_one(tmp_path: Path) -> None:
    script = HERE / "lint_dockerfile.mjs"
    assert json.loads(run_script(script, tmp_path, {}, str(DOCKERFILE))) == []
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM scratch\nWORKDIR here\nCOPPY a b\n")
    assert len(json.loads(run_script(script, tmp_path, {}, str(bad)))) == 2


@pytest.fixture(scope="module")
def schema() -> Any:
    """The compose specification's own."""
    text = (installed() / "dclint" / "schemas" / "compose.schema.json").read_text(encoding="utf-8")
    return jsonschema_rs.validator_for(json.loads(text))


def test_compose_is_what_the_specification_allows_with_variables_and_without(schema: Any) -> None:
    names = re.findall(r"\$\{(\w+):", FILE.read_text(encoding="utf-8"))
    numbers = {name for name in names if name.endswith(("_WORKERS", "_CPUS", "_PORT"))}
    for environ in ({}, {name: "2" if name in numbers else "given" for name in names}):
        problems = [
            f"{error.instance_path}: {error.message}" for error in schema.iter_errors(compose(environ))
        ]
        assert not problems


def test_the_specification_refuses_what_it_does_not_know(schema: Any) -> None:
    wrong = compose()
    wrong["services"]["api"]["healthcheck"]["retrys"] = 3
    assert [error.message for error in schema.iter_errors(wrong)]


def _python_of_the_image() -> Path:
    """A Python of the image's version, else the one of the tests, on which the sizes are nearly the same."""
    version = re.findall(r"FROM python:(3\.\d+)", DOCKERFILE.read_text(encoding="utf-8"))[0]
    for name in (f"python{version}", *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))):
        found = shutil.which(str(name))
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return Path(found)
    return Path(sys.executable)
