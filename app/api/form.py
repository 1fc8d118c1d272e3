"""The parts of a multipart body, as a parser meets them: fields, the file's name, and its bytes until they are taken.

uploading.py feeds it what comes from the socket. Forms come from many clients: text before the first part, a name
by `filename*` (RFC 5987) or in encoded words (RFC 2047) are read; a part in base64 is refused, never stored as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import unquote

from python_multipart.multipart import MultipartParser, parse_options_header

from app.api.errors import bad_request

MAX_FIELD_BYTES = 16_384
MAX_FIELDS = 64
_MAX_PREAMBLE_BYTES = 16_384
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*\"?([\w-]+)'[^']*'([^;\"\s]*)", re.IGNORECASE)
_ENCODED_WORD = re.compile(r"=\?[\w-]+\?[bq]\?[^?]*\?=", re.IGNORECASE)
_AS_THEY_ARE = ("", "7bit", "8bit", "binary")


class FormParser:
    """A parser that is not shown what stands before the first part (RFC 2046, 5.1.1: to be ignored)."""

    def __init__(self, parser: MultipartParser, boundary: bytes) -> None:
        self._parser = parser
        self._delimiter = b"\r\n--" + boundary
        self._preamble: bytearray | None = bytearray(b"\r\n")  # the first delimiter may begin the body

    def write(self, data: bytes) -> None:
        """Read on. Raises FormParserError for what is no form."""
        if self._preamble is None:
            self._parser.write(data)
            return
        self._preamble += data
        at = self._preamble.find(self._delimiter)
        if at >= 0 or len(self._preamble) > _MAX_PREAMBLE_BYTES:
            self._begin(at)

    def finalize(self) -> None:
        """Nothing more comes. Raises FormParserError for a body without any part."""
        if self._preamble is not None:
            self._begin(-1)
        self._parser.finalize()

    def _begin(self, at: int) -> None:
        # Where there is no delimiter, the parser says itself what it misses.
        body, self._preamble = bytes(self._preamble or b"")[max(at, 0) + 2 :], None
        self._parser.write(body)


@dataclass
class Form:
    """The parts of one multipart body, as the parser meets them; file bytes pile up until they are taken."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    blocks: list[bytes] = field(default_factory=list)
    waiting_bytes: int = 0
    ended: bool = False
    _headers: dict[str, bytes] = field(default_factory=dict)
    _header: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    _name: str = ""
    _value: bytearray | None = None  # of a plain field; None while the file's bytes come

    def parser(self, boundary: bytes) -> FormParser:
        """The parser that fills this form."""
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": self._take,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        return FormParser(parser, boundary)

    def take_block(self) -> bytes:
        """What has arrived of the file since the last time."""
        block = b"".join(self.blocks)
        self.blocks.clear()
        self.waiting_bytes = 0
        return block

    def _begin(self) -> None:
        self._headers = {}

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[name.decode("latin-1").lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _open(self) -> None:
        disposition = self._headers.get("content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._refuse_encoded()
        filename = _filename(disposition, options.get(b"filename"))
        if self._name == "file" and filename is not None:
            if self.filename is not None:
                raise bad_request("Only one file can be uploaded at a time.", param="file")
            self.filename = _CONTROL.sub("", filename)[:255]
            self._value = None
        elif len(self.fields) >= MAX_FIELDS:
            raise bad_request(f"The form has more than {MAX_FIELDS} fields.")
        else:
            self._value = bytearray()

    def _refuse_encoded(self) -> None:
        encoding = self._headers.get("content-transfer-encoding", b"").decode("latin-1").strip().lower()
        if encoding not in _AS_THEY_ARE:
            text = (
                f"Content-Transfer-Encoding '{encoding[:32]}' is not read here; send the bytes as they are."
            )
            raise bad_request(text, param=self._name[:64], code="unsupported_transfer_encoding")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._value is None:
            self.blocks.append(data[start:end])
            self.waiting_bytes += end - start
        elif len(self._value) + end - start > MAX_FIELD_BYTES:
            raise bad_request(f"The field '{self._name[:64]}' is too long.", param=self._name[:64])
        else:
            self._value += data[start:end]

    def _end_part(self) -> None:
        if self._value is not None:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.ended = True


def _filename(disposition: bytes, plain: bytes | None) -> str | None:
    """The file's name in a part's header; None for a plain field.

    RFC 7578, 4.2: the plain name is UTF-8 and counts; `filename*` counts where it stands alone, since older clients
    send names beyond ASCII so.
    """
    if plain is not None:
        name = plain.decode("utf-8", "replace")
        return _decoded_words(name) if _ENCODED_WORD.fullmatch(name) else name
    extended = _EXTENDED_NAME.search(disposition.decode("latin-1"))
    if extended is None:
        return None
    try:
        return unquote(extended[2], encoding=extended[1], errors="replace")
    except LookupError:  # a character set that nobody knows
        return unquote(extended[2])


def _decoded_words(name: str) -> str:
    try:
        return str(make_header(decode_header(name)))
    except (HeaderParseError, LookupError, UnicodeError):
        return name
