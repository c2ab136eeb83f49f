"""Command line of measuring: `python -m measure {doctor,host,run,worker,campaign,accuracy,table,build,lookup,...}`."""

from datasets.cli import main
from measure.commands.campaigns import campaign, run, worker
from measure.commands.machine import doctor, host
from measure.commands.networks import blackbox, build, delegates, lookup, timeline
from measure.commands.tables import accuracy, contribute, repeatability, table

if __name__ == "__main__":
    main(
        [
            doctor,
            host,
            run,
            worker,
            campaign,
            accuracy,
            table,
            contribute,
            repeatability,
            build,
            delegates,
            timeline,
            lookup,
            blackbox,
        ],
        prog="python -m measure",
    )
