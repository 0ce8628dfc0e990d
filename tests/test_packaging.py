"""The wheel is complete, and Twisted finds the service that it installs."""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

import txbayeux

pytestmark = pytest.mark.packaging
ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    environ: Mapping[str, str] = {
        k: v for k, v in os.environ.items() if k != "PYTHONPATH"
    }
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("txbayeux-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only a virtual environment that has the wheel installed."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", with_pip=True)
    pip = [folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "install", wheel, cwd=folder)
    return folder


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    assert names >= {
        "twisted/plugins/txbayeux_plugin.py",
        "txbayeux/py.typed",
        "txbayeux/static/index.html",
        "txbayeux/static/chat.css",
        "txbayeux/static/chat.js",
        "txbayeux/static/vendor/faye-browser-min.js",
        "txbayeux/static/vendor/LICENSE-Apache-2.0",
    }
    kept = (
        "txbayeux/",
        "twisted/plugins/txbayeux_plugin.py",
        f"txbayeux-{txbayeux.__version__}.dist-info/",
    )
    assert [name for name in names if not name.startswith(kept)] == []
    assert [name for name in names if name.endswith((".pyc", "dropin.cache"))] == []


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    files = {path for path in (ROOT / "txbayeux").rglob("*") if path.is_file()}
    ours = {str(f.relative_to(ROOT)) for f in files if f.parent.name != "__pycache__"}
    assert ours - set(ZipFile(wheel).namelist()) == set()


@pytest.mark.parametrize("command", ["twistd", "twist"])
def test_twisted_finds_the_service_in_a_clean_environment(
    environment: Path, command: str
) -> None:
    assert "--port" in run(
        environment / "venv/bin" / command, "bayeux", "--help", cwd=environment
    )


def test_the_plugin_does_not_import_the_package(environment: Path) -> None:
    script = (
        "import sys; from twisted import plugin; "
        "from twisted.application.service import IServiceMaker; "
        "found = {p.tapname for p in plugin.getPlugins(IServiceMaker)}; "
        "assert 'bayeux' in found, found; assert 'txbayeux' not in sys.modules"
    )
    run(environment / "venv/bin/python", "-c", script, cwd=environment)


@pytest.mark.parametrize("command", ["txbayeux --version", "twistd bayeux --version"])
def test_the_version_is_that_of_the_wheel(environment: Path, command: str) -> None:
    name, *arguments = command.split()
    output = run(environment / "venv/bin" / name, *arguments, cwd=environment)
    assert output == f"txbayeux {txbayeux.__version__}\n"
