"""A first recipe for a person's own data: looks at it, takes a few answers, chooses the rest, and says why.

:func:`look` sees the data, :func:`choose` is a pure function from that and the answers to keys, values and reasons, and
:func:`write` puts them into TOML in which every key is explained.
"""

from edgekd.init.choose import ADVANCED_KEYS, EFFORTS, Answers, Choice, choose
from edgekd.init.look import Seen, look
from edgekd.init.write import write

__all__ = ["ADVANCED_KEYS", "EFFORTS", "Answers", "Choice", "Seen", "choose", "look", "write"]
