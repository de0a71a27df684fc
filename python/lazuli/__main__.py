"""``python -m lazuli doctor``: what Lazuli finds on this machine, and whether it works."""

import sys

from lazuli import doctor

USAGE = "usage: python -m lazuli doctor"


def main(arguments: list[str]) -> int:
    if arguments != ["doctor"]:
        print(USAGE, file=sys.stderr)
        return 2
    return doctor.main()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
