"""UTF-8, strictly: a document that is shown with holes would be cited with holes. Pure."""

from __future__ import annotations

from services.retrieval.reading.failures import Unreadable


def utf8(content: bytes) -> str:
    """The text, without a byte order mark, with line ends as LF.

    Raises:
        Unreadable: it is not UTF-8; ``byte_offset`` in the metadata says where. U+0000 does not occur in
            text either, and what holds it is some other format.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"the document is not valid UTF-8 at byte {error.start}", {"byte_offset": str(error.start)}
        ) from error
    nul = content.find(b"\0")
    if nul >= 0:
        raise Unreadable(
            f"the document is not text: it holds a zero byte at byte {nul}", {"byte_offset": str(nul)}
        )
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
