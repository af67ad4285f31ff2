"""Models that the tests use: those of the repository."""

import pathlib

import pytest

FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "tests" / "fixtures"


@pytest.fixture
def fixture():
    return lambda name: str(FIXTURES / name)
