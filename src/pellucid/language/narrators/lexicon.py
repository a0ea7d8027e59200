"""Words by which sentences are read back: those that deny, that count, and those in which anything can be retold."""

from __future__ import annotations

_DENYING = """
not no never hardly neither nor cannot can't doesn't isn't don't won't ignores ignored ignoring irrelevant unimportant
unaffected disregards disregarded independent fails
"""
_COUNTING = "half halves third thirds quarter quarters fifth tenth twice thrice double triple dozen"
# They add nothing that could be wrong about the model.
_PLAIN = """
a an the this that these those it its itself they them their there here of in on at to from with within without by
for as and or but while whereas when where which who what how if then than so only just also both each all any some
is are was were be been being has have had having do does did can could would will shall may might must
model network classifier net picture image photo photograph scene answer prediction class label category output
score probability likelihood confidence chance figure value percent share portion
region area part patch place spot location zone section pixels random other others another same similar shape size
shaped sized sort kind
mostly most more less least much very far further about roughly around still even yet again instead rather
compared comparison contrast relative against between
says said say predicts predicted predict sees seen see looks look looking calls call considers considered thinks
believes recognises recognizes recognised recognized identifies identified assigns gives given give gets get names
rests rest relies rely relied depends depend depended based hinges hinge focuses focus matters matter mattered
important importance decisive key crucial driven drives drive supports support
falls fall fell drops drop dropped goes go went decreases decrease decreased declines declined shrinks shrink
rises rise rose increases increase increased grows grow becomes become became turns turn changes change changed
stays stay stayed keeps keep kept remains remain remained leaves leave left reaches reach
removed remove removing removal taken take taking away gone hidden hide hiding blurred blurring blur masked mask
painted replaced covered shown show showing alone visible isolated everything else rest
enough sufficient insufficient none
sure certain certainly certainty almost quite likely surely confident strongly high low higher lower
runner second place lead margin gap separates separated separate distinguishes distinguished two three four
method methods agree agrees agreement disagree rank ranks correlation mean average order
test tested tests tried measured measure measurement found find finding result results evidence
tell tells told apart own
made make makes one once up down out over under i we you your our now before after first last
"""
_ENDINGS = ("ings", "ing", "edly", "ed", "es", "ly", "s")


def stem(word: str) -> str:
    """A word without the commonest endings, so that `falls` and `falling` are one."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending).rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word


DENYING = frozenset(_DENYING.split())
COUNTING = frozenset(_COUNTING.split())
PLAIN = frozenset(map(stem, (*_PLAIN.split(), *DENYING)))
