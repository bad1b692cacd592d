"""English words that say nothing of what a text is about."""

from __future__ import annotations

_TEXT = """
a about above after again against all also am an and another any are around as at be became because become
been before being below between both but by call called came can cannot come could describe did difference
different do does doing done down during each either else etc ever every example examples explain few for
from further get gets give given go goes got had happen happens has have having he her here hers herself
him himself his how i if in instead into is it its itself just kind know let like made make makes many may
me mean means might mine more most much must my myself need needs no nor not now of off often on once one
only or other our ours out over own per please possible rather really same say says see shall she should
show since so some somehow something such take tell than that the their theirs them themselves then there
these they thing things this those though through thus to together too under until up upon us use used
uses using various very via want was way ways we well were what whatever when where whether which while
who whom whose why will with within without would yes yet you your yours yourself
"""

STOP_WORDS = frozenset(_TEXT.split())
"""In lower case. Question words and words of asking are among them: "explain", "example", "difference"."""
