"""Command line of what joins the packages: `python -m gnomon {check,compare,curves,decide,price}`."""

from datasets.cli import main
from gnomon.commands.check import check
from gnomon.commands.compare import compare, files_as_one
from gnomon.commands.curves import curves
from gnomon.commands.decide import decide
from gnomon.commands.price import price

if __name__ == "__main__":
    main([check, compare, curves, decide, price], prog="python -m gnomon", positional=True, rewrite=files_as_one)
