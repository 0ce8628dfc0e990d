"""The names at the top are those that are promised, and cost nothing until used."""

import subprocess
import sys

import pytest

import txbayeux


@pytest.mark.parametrize("name", txbayeux.__all__)
def test_a_name_is_there(name: str) -> None:
    assert getattr(txbayeux, name) is not None


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="Nobody"):
        txbayeux.Nobody  # noqa: B018 (the look-up is the test)


def test_every_name_that_is_promised_has_a_home_and_no_other() -> None:
    assert sorted(txbayeux._HOMES) == sorted(txbayeux.__all__)


def test_importing_the_package_imports_no_layer() -> None:
    script = "import sys, txbayeux.channel; assert 'autobahn' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
