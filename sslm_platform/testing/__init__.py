"""For plugin authors: one line of test code checks a definition against the platform's rules."""

from sslm_platform.testing.parametrize import checks_of, parametrize_with_checks

__all__ = ["checks_of", "parametrize_with_checks"]
