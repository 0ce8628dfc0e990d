"""The public names of ``txbayeux`` exist, and are imported only when used."""

import subprocess
import sys

import pytest

import txbayeux


@pytest.mark.parametrize("name", txbayeux.__all__)
def test_a_public_name_exists(name: str) -> None:
    assert getattr(txbayeux, name) is not None


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="Nobody"):
        txbayeux.Nobody  # noqa: B018 (the look-up is the test)


def test_every_public_name_has_a_module() -> None:
    assert sorted(txbayeux._HOMES) == sorted(txbayeux.__all__)


def test_importing_the_package_does_not_import_autobahn() -> None:
    script = "import sys, txbayeux.channel; assert 'autobahn' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
