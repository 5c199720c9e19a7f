"""``python -m sslm_platform``."""

from sslm_platform.cli import main

main()
