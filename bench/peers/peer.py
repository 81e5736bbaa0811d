"""What all peers have in common."""

from itertools import product

NEIGHBOURS = 10
# Effort of a search in a graph, from fast to thorough.
EFS = (10, 15, 20, 30, 45, 70, 110, 180, 300, 500, 800)


def grid(**axes):
    """Every combination of the values, as keyword arguments of `ask`."""
    return [dict(zip(axes, values)) for values in product(*axes.values())]


class Peer:
    """One library. It builds in its constructor, of rows of length 1; `folder` is its own and empty.

    `ask(queries, **point)` prepares all queries at one point of the sweep and returns the call that is timed; `ids` makes
    rows of ids of what the call returns.
    """

    package = None  # its name for pip
    config = None  # what it is built with, in the words of its papers
    sweep = grid(ef=EFS)

    def ids(self, found):
        return found
