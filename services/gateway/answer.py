"""An answer as it is written: the model's text in, deltas and citations out. No I/O, no clock.

Rules:

1. The model's text is passed on as it is, but for blanks at its beginning, control tokens, citation markers
   that do not hold, and the numbers in those that do: passages are numbered in the order of their first use.
2. A marker holds when the passage exists and supports the sentence it stands in. What may be a Python list
   (``[1, 2]`` behind an operator, in code, or with a number that is no passage's) is left alone.
3. A finished sentence without a marker is traced to the passage it rests on, if there is one.
4. A citation comes after the text it belongs to. Offsets count code points of what was given out.
5. Text is held back only while it may turn out to be a control token, a marker, or the repetition of an
   earlier sentence. The repetition of a sentence ends the answer in front of it.
6. An answer whose beginning was given out elsewhere goes on as if it had been given out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import chain

from services.gateway.attribution import BACKED, Attribution
from services.gateway.markers import Marker, MarkerReader
from services.gateway.model import Citation, CitationMark, Passage, TextDelta
from services.gateway.refusal import says_not_in_documents
from services.gateway.repetition import Repetition
from services.gateway.sanitize import ControlTokenFilter
from services.gateway.sentences import boundary

MAX_CITATIONS = 64
"""As many as a stored message, and an answer given at once, can hold."""

_LONGEST_END = 80
"""Characters from which the end of a sentence is looked for again: stop, quotation marks and markers."""
_BEFORE_CITATION = re.compile(r"[\w.!?,;:\"'”\u2019)\]*%`]$")
_WORD_END = re.compile(r"\w$")
_OPEN_BRACKET = re.compile(r"<[^\s<>]{0,36}$")

Events = list[TextDelta | Citation]


class AnswerText:
    """Feed it what the model writes; it gives back what the caller may see."""

    def __init__(self, passages: Sequence[Passage] = (), attribution: Attribution | None = None) -> None:
        """Without an attribution nothing is cited, and brackets are only brackets."""
        self._passages = passages
        self._attribution = attribution
        self._control = ControlTokenFilter()
        self._markers = MarkerReader()
        self._repetition = Repetition()
        self._numbers: dict[int, int] = {}
        """Index of a passage to the number that it was given."""
        self._sentence = ""
        """The sentence being written, with the blanks before it."""
        self._sent = 0
        """How much of it was given out."""
        self._marks: list[tuple[int, int]] = []
        """Citations in it that were not given out yet: position in the sentence, index of the passage."""
        self._marked = False
        """The model cited in it."""
        self._last_sentence = ""
        self._in_code = False
        self._parts: list[str] = []
        self._length = 0
        self.citations: list[Citation] = []
        """All that were given out."""
        self.repeating = False
        """The model goes round in circles: nothing more is taken."""
        self.refused = False
        """The model said that the documents do not contain the answer, and cited nothing before."""

    @property
    def text(self) -> str:
        """All that was given out."""
        return "".join(self._parts)

    @property
    def length(self) -> int:
        """How much that is, in code points."""
        return self._length

    def take_up(self, text: str, marks: Sequence[CitationMark]) -> Events:
        """Begins behind what was given out elsewhere; gives the citations in it that are not among ``marks``.

        A citation comes after its text, so the stream may have broken between the two.

        Raises:
            ValueError: a mark names a passage that is not there, or text behind the end.
        """
        for mark in marks:
            if not 1 <= mark.place <= len(self._passages) or mark.offset > len(text):
                raise ValueError(f"no such citation: {mark}")
            self._numbers.setdefault(mark.place - 1, mark.number)
            passage = self._passages[mark.place - 1]
            self.citations.append(Citation(mark.number, passage, mark.offset, mark.place))
        events: Events = []
        start = 0
        while (end := boundary(text[start:])) is not None:
            self._recall(text[start : start + end], start, events)
            start += end
        self._recall_marks(text[start:], start, events)
        self._parts, self._length = [text], len(text)
        self._sentence, self._sent = text[start:], len(text) - start
        # What was cited in the open sentence by the model itself is not traced once more at its end.
        self._marked = any(citation.offset > start for citation in self.citations)
        return events

    def _recall(self, sentence: str, start: int, events: Events) -> None:
        """Remembers a sentence that was given out whole."""
        if sentence.lstrip().startswith("```"):
            self._in_code = not self._in_code
        self._recall_marks(sentence, start, events)
        if self._attribution is not None and says_not_in_documents(sentence):
            self.refused = self.refused or not any(known.offset <= start for known in self.citations)
        self._repetition.add(sentence)
        self._last_sentence = sentence

    def _recall_marks(self, sentence: str, start: int, events: Events) -> None:
        """Cites what a marker in a sentence stands for, where the citation itself was lost on the way."""
        if self._attribution is None or self._in_code:
            return
        reader = MarkerReader()
        position, said = start, ""
        for part in chain(reader.feed(sentence), reader.flush()):
            subject = said.rstrip() or self._last_sentence
            said += str(part)
            position += len(str(part))
            if not isinstance(part, Marker):
                continue
            for number in part.numbers:
                # Numbers are given in order, so only the next one can be one that was lost.
                free = [index for index in range(len(self._passages)) if index not in self._numbers]
                if number != len(self._numbers) + 1 or not free:
                    continue
                index = max(free, key=lambda place: self._support(subject, place))
                if self._support(subject, index) >= BACKED:
                    self._cite(index, position, events)

    def _support(self, subject: str, index: int) -> float:
        return self._attribution.support(subject, index) if self._attribution is not None else 0.0

    def feed(self, piece: str) -> Events:
        """What can be given out after another piece of the model's text."""
        events = self._take(self._markers.feed(self._control.feed(piece)))
        if not self.repeating and not self._repetition.may_repeat(self._sentence):
            self._emit(events)
            if not self._in_code and self._repetition.circles(self._sentence):
                self.repeating = True
                if not self._marked:
                    self._trace(self._sentence, events)
        return events

    def finish(self, *, complete: bool = True) -> Events:
        """The rest, without blanks at the end.

        With ``complete`` the last sentence has ended; else the model was stopped in it.
        """
        events = self._take(chain(self._markers.feed(self._control.flush()), self._markers.flush()))
        self._sentence = self._sentence.rstrip()
        if self.repeating or not self._sentence:
            return events
        if complete:
            self._close(self._sentence, events)
        elif not self._repetition.may_repeat(self._sentence):
            self._emit(events)
        return events

    def _take(self, parts: Iterable[str | Marker]) -> Events:
        events: Events = []
        for part in parts:
            if self.repeating:
                break
            known = len(self._sentence)
            text = self._written(part) if isinstance(part, Marker) else part
            self._sentence += text if self._length or known else text.lstrip()
            self._close_sentences(max(0, known - _LONGEST_END), events)
        return events

    def _close_sentences(self, start: int, events: Events) -> None:
        while not self.repeating and (end := boundary(self._sentence, start)) is not None:
            rest = self._sentence[end:]
            self._close(self._sentence[:end], events)
            self._sentence, self._sent, start = rest, 0, 0

    def _close(self, sentence: str, events: Events) -> None:
        self._sentence = sentence
        if sentence.lstrip().startswith("```"):
            self._in_code = not self._in_code
        # A sentence that was there before has been held back from its first word on.
        if self._sent == 0 and not self._in_code and self._repetition.repeats(sentence):
            self.repeating = True
            return
        self._emit(events)
        if not self._marked and not self._in_code:
            self._trace(sentence, events)
        self._marked = False
        if not self._in_code and self._repetition.tells_nothing_new(sentence):
            self.repeating = True
        self._repetition.add(sentence)
        self._last_sentence = sentence

    def _emit(self, events: Events) -> None:
        """Gives out the rest of the sentence and the citations that stand in it."""
        text = self._sentence[self._sent :]
        begin = self._length - self._sent
        if text:
            events.append(TextDelta(self._length, text))
            self._parts.append(text)
            self._length += len(text)
            self._sent = len(self._sentence)
        for position, index in self._marks:
            self._cite(index, begin + position, events)
        self._marks.clear()

    def _trace(self, sentence: str, events: Events) -> None:
        if self._attribution is None:
            return
        if says_not_in_documents(sentence):
            self.refused = self.refused or not self.citations
            return
        index = self._attribution.best(sentence)
        if index is not None:
            self._cite(index, self._length, events)

    def _cite(self, index: int, offset: int, events: Events) -> None:
        if len(self.citations) < MAX_CITATIONS:
            citation = Citation(self._number(index), self._passages[index], offset, index + 1)
            self.citations.append(citation)
            events.append(citation)

    def _number(self, index: int) -> int:
        return self._numbers.setdefault(index, len(self._numbers) + 1)

    def _written(self, marker: Marker) -> str:
        """What stands in the answer for a marker of the model's."""
        here = self._sentence.rstrip()
        subject = here or self._last_sentence
        if self._attribution is None or self._in_code or subject.count("`") % 2:
            return str(marker)
        if subject and not _BEFORE_CITATION.search(subject):
            return str(marker)
        known = [number - 1 for number in marker.numbers if number <= len(self._passages)]
        backed = [index for index in known if self._attribution.support(subject, index) >= BACKED]
        if not backed:
            index_like = not marker.blank and _WORD_END.search(self._sentence) is not None
            list_like = len(marker.numbers) > 1 and len(known) < len(marker.numbers)
            # Taking it out of "<|im_ [9]end|>" would make a control token.
            in_bracket = _OPEN_BRACKET.search(self._sentence) is not None
            return str(marker) if index_like or list_like or in_bracket else ""
        self._marked = True
        text = f"{marker.blank}[{', '.join(str(self._number(index)) for index in backed)}]"
        self._marks += [(len(self._sentence) + len(text), index) for index in backed]
        return text
