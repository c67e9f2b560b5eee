"""Load the shared fixtures for `tests` and for the tests in the providers' folders."""

pytest_plugins = [
    "tests.harness.fixtures",
    "tests.harness.fake_check",
    "tests.harness.fake_provider",
    "tests.harness.receiving",
    "tests.harness.crashing",
]
collect_ignore = ["tests/sample_provider"]  # imported as a package of `providers` only; see test_sixth_provider.py
