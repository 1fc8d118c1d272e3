"""Pictures and sounds that nobody could read are named; what somebody might read passes."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.test_images import FILES, JPEG, PNG
from workers.core.media import MAX_PIXELS, media_problem

JSON = st.recursive(
    st.none() | st.integers() | st.sampled_from(["data:image/png;base64,", "data:audio/wav;base64,AA", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "content", "image_url", "url", "input_audio", "data", "file", "input"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
SOUNDS = {
    "wav": b"RIFF\x24\0\0\0WAVEfmt ",
    "flac": b"fLaC" + bytes(40),
    "ogg": b"OggS" + bytes(40),
    "webm": b"\x1a\x45\xdf\xa3" + bytes(40),
    "mp4": b"\0\0\0\x20ftypM4A " + bytes(40),
    "mpeg": b"anything: players search for the first frame",
}


def url(data: bytes | str, media_type: str) -> str:
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    return f"data:{media_type};base64,{text}"


def picture(data: bytes | str, media_type: str = "image/png") -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url(data, media_type)}}
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, part]}]}


def code_of(body: dict[str, Any]) -> str | None:
    wrong = media_problem(body)
    return wrong.code if wrong else None


@pytest.mark.parametrize("kind", FILES)
def test_a_picture_passes_under_any_of_the_types_people_give_it(kind: str) -> None:
    for media_type in ("image/png", "image/jpeg", "IMAGE/WEBP", "image/png;name=a.png"):
        assert media_problem(picture(FILES[kind] + bytes(200), media_type)) is None


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_sound_passes_wherever_it_stands(kind: str) -> None:
    assert media_problem({"file_url": url(SOUNDS[kind], f"audio/{kind}")}) is None
    assert media_problem({"file": url(SOUNDS[kind], f"audio/{kind};rate=8000")}) is None


@pytest.mark.parametrize(
    "body",
    [
        picture(b"any bytes", "image/heic"),  # types whose first bytes we do not know
        picture(b"any bytes", "image/avif"),
        picture("iVBORw0KGgo%3D"),  # other ways of writing base64: somebody may read them
        picture("_-_-", "image/png"),
        picture("iVBORw0K\r\nGgoAAAANSUhEUgAAAoAAAAHgAAAAAAAA"),
        {"messages": [{"content": [{"image_url": {"url": "https://example.org/data:image/png;base64,"}}]}]},
        {"messages": [{"content": [{"image_url": {"url": "data:image/svg+xml,<svg/>"}}]}]},
    ],
)
def test_what_somebody_may_read_is_left_to_them(body: dict[str, Any]) -> None:
    assert media_problem(body) is None


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", "invalid_image", "0 bytes"),
        ("====", "invalid_image", "0 bytes"),
        ("???", "invalid_image", "characters that base64 has not"),
        ("é" * 20, "invalid_image", "characters that base64 has not"),
        ("\ud800", "invalid_image", "characters that base64 has not"),
        (base64.b64encode(PNG).decode() + "A", "invalid_image", "cut off"),
        (b"<html>not found</html>", "invalid_image", "first bytes"),
        (PNG[:20], "invalid_image", "ends before its width"),
        (JPEG[:30_000], "invalid_image", "ends before its width"),
        (PNG[:16] + struct.pack(">II", 30_000, 30_000) + bytes(50), "image_too_large", "30,000 x 30,000"),
    ],
)
def test_what_nobody_could_read_is_named_with_its_place(data: bytes | str, code: str, said: str) -> None:
    wrong = media_problem(picture(data))
    assert wrong is not None
    assert (wrong.code, wrong.param) == (code, "body.messages[0].content[1].image_url.url")
    assert said in wrong.message and "expected" in wrong.message


def test_a_picture_of_as_many_pixels_as_are_allowed_passes() -> None:
    size = struct.pack(">II", MAX_PIXELS // 10_000, 10_000)
    assert code_of(picture(PNG[:16] + size + bytes(60))) is None
    one_more = struct.pack(">II", MAX_PIXELS // 10_000 + 1, 10_000)
    assert code_of(picture(PNG[:16] + one_more + bytes(60))) == "image_too_large"


def test_a_responses_picture_and_a_chats_sound_are_looked_at_too() -> None:
    shown = {"input": [{"content": [{"type": "input_image", "image_url": url(b"<html>", "image/gif")}]}]}
    wrong = media_problem(shown)
    assert wrong is not None and wrong.param == "body.input[0].content[0].image_url"
    heard = {"messages": [{"content": [{"input_audio": {"data": "", "format": "mp3"}}]}]}
    wrong = media_problem(heard)
    assert wrong is not None and wrong.param == "body.messages[0].content[0].input_audio.data"


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (url(b"", "audio/mpeg"), "0 bytes"),
        (url(b"<html>not found</html>", "audio/wav"), "first bytes"),
        (url("%%%?", "audio/wav"), "characters that base64 has not"),
    ],
)
def test_a_sound_that_is_none_is_named_before_anybody_is_asked(sound: str, said: str) -> None:
    wrong = media_problem({"model": "whisper-1", "file_url": sound})
    assert wrong is not None
    assert (wrong.code, wrong.param) == ("invalid_audio", "body.file_url")
    assert said in wrong.message


def test_a_length_that_a_header_claims_is_not_believed() -> None:
    ten_hours = struct.pack("<I", 8_000 * 36_000)
    header = b"RIFF" + ten_hours + b"WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data" + ten_hours
    assert media_problem({"file_url": url(header + bytes(100), "audio/wav")}) is None


def test_words_about_data_are_no_picture() -> None:
    text = "data:image/png;base64,??? what is it?"
    assert media_problem({"messages": [{"role": "user", "content": text}], "input": text}) is None
    assert media_problem({"messages": [{"content": [{"type": "text", "text": text}, text]}]}) is None


@given(st.dictionaries(st.sampled_from(["messages", "input", "file", "file_url"]), JSON))
def test_any_body_is_read_or_passed_over(body: dict[str, Any]) -> None:
    wrong = media_problem(body)
    assert wrong is None or wrong.param.startswith("body.")


@given(
    st.sampled_from([*FILES.values(), *SOUNDS.values()]),
    st.integers(0, 60),
    st.binary(max_size=8),
    st.text(max_size=4),
)
def test_a_file_cut_or_spoilt_anywhere_is_judged_without_a_fall(
    data: bytes, at: int, junk: bytes, tail: str
) -> None:
    text = base64.b64encode(data[:at] + junk).decode() + tail
    for media_type in ("image/png", "audio/wav", "image/x"):
        assert code_of(picture(text, media_type)) in (
            None,
            "invalid_image",
            "invalid_audio",
            "image_too_large",
        )
