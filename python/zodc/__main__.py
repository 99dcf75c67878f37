"""Run the command line with ``python -m zodc``."""

from zodc.cli import main

main()
