"""Text as strangers send it made plain: bounded, without markup, with its letters repaired."""

import re
import unicodedata
from html import unescape
from html.parser import HTMLParser

MOST_CHARACTERS = 200_000
_UNSEEN = frozenset({"script", "style", "template", "noscript", "iframe", "object", "svg", "head"})
_BLOCKS = frozenset({"p", "div", "br", "li", "tr", "td", "h1", "h2", "h3", "h4", "article", "section"})
# UTF-8 read as Windows-1252 leaves these pairs, which no language writes.
_MISREAD = re.compile("[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac|\u00f0\u0178")
_LEFT_OPEN = re.compile(r"<(?=[^<>]*(?:<|\Z))")
# Controls, marks that turn the direction of writing, letters of no width, halves of letters.
_CONTROLS = (*range(9), 11, 12, *range(14, 32), *range(127, 160))
_NO_WIDTH = (0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)
_DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_HALVES = range(0xD800, 0xE000)
_UNWANTED = dict.fromkeys((*_CONTROLS, *_NO_WIDTH, *_DIRECTIONS, *_HALVES))


def plain(markup: str, *, most: int) -> str:
    """Text of a piece of HTML in one line, at most that many characters; text without markup stays."""
    reader = _Reader()
    reader.feed(_closed(markup[:MOST_CHARACTERS]))
    reader.close()
    text = unescape("".join(reader.pieces))
    return " ".join(unicodedata.normalize("NFC", _repaired(text).translate(_UNWANTED)).split())[:most]


def _closed(markup: str) -> str:
    """Markup without comments, in which each bracket that no other closes is a letter.

    For each that is left open the parser reads to the end: a flood of them would keep it for minutes.
    """
    shown, *commented = markup.split("<!--")
    after = [part.partition("-->")[2] for part in commented]
    return _LEFT_OPEN.sub("&lt;", "".join([shown, *after]))


def _repaired(text: str) -> str:
    """Text whose UTF-8 was read as Windows-1252 read rightly; any other text as it is."""
    if not _MISREAD.search(text):
        return text
    try:
        return text.encode("cp1252").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


class _Reader(HTMLParser):
    """Gathers what a browser would show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Read a section such as CDATA; one of an unknown kind is a comment, as in a browser."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i, report=False)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _UNSEEN:
            self._hidden += 1
        elif tag in _BLOCKS:
            self.pieces.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _BLOCKS:
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSEEN:
            self._hidden = max(0, self._hidden - 1)
        elif tag in _BLOCKS:
            self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)
