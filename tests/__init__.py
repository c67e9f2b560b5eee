import pytest

# Its asserts are to explain themselves like those of a test module.
pytest.register_assert_rewrite("tests.harness.provider_contract")
