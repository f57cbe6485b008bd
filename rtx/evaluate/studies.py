"""The questions that `rtx eval` answers, by name."""

from __future__ import annotations

from rtx.evaluate.agreement import AGREEMENT
from rtx.evaluate.cheat import CHEAT
from rtx.evaluate.classes import CLASSES
from rtx.evaluate.faithful import FAITHFUL
from rtx.evaluate.localise import LOCALISE
from rtx.evaluate.motion import MOTION
from rtx.evaluate.overhead import OVERHEAD
from rtx.evaluate.sanity import SANITY
from rtx.evaluate.study import Study

STUDIES: dict[str, Study] = {
    of.name: of for of in (AGREEMENT, MOTION, LOCALISE, FAITHFUL, SANITY, OVERHEAD, CLASSES, CHEAT)
}
