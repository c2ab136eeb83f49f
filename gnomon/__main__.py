"""Command line of what joins the packages: `python -m gnomon {check,compare}`."""

from datasets.cli import main
from gnomon.commands.check import check
from gnomon.commands.compare import compare, files_as_one

if __name__ == "__main__":
    main([check, compare], prog="python -m gnomon", positional=True, rewrite=files_as_one)
