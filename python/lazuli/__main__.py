"""``python -m lazuli doctor``: what Lazuli finds on this machine, and whether it works."""

import os
import sys

from lazuli import doctor

USAGE = "usage: python -m lazuli doctor"

#: The status of programs whose reader has gone: 128 and the number of SIGPIPE.
STOPPED = 141


def main(arguments: list[str]) -> int:
    if arguments != ["doctor"]:
        print(USAGE, file=sys.stderr)
        return 2
    try:
        status = doctor.main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads the report has read enough (`| head`). What is still to be written at the end of the process goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
