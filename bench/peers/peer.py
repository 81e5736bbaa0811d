"""Base class of all peers."""

from itertools import product

NEIGHBOURS = 10
# ef of graph searches, ascending: the values of `meridian bench ann`.
EFS = (10, 12, 14, 16, 18, 20, 22, 25, 28, 30, 32, 36, 40, 45, 50, 60, 70, 80, 100, 120, 140, 160, 240, 320, 480, 640, 960)


def grid(**axes):
    """Every combination of the values, as keyword arguments of `ask`."""
    return [dict(zip(axes, values)) for values in product(*axes.values())]


class Peer:
    """One library. The constructor builds the index from rows of length 1; `folder` is empty and not shared.

    `ask(queries, **point)` prepares all queries at one point of the sweep and returns the call to be timed; `ids` converts
    the result of the call to rows of ids.
    """

    package = None  # its name for pip
    config = None  # what it is built with, in the words of its papers
    sweep = grid(ef=EFS)

    def ids(self, found):
        return found
