"""Fixtures of the lab tests: see lab.fixtures."""

from lab.fixtures import *  # noqa: F403 - pytest finds fixtures by their names here
