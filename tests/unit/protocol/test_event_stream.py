"""The event stream format, both ways, rule by rule and against a second parser written from the standard's text."""

import itertools
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.protocol.event_stream import Event, EventStreamDecoder, EventTooLarge, encode_comment, encode_event

LIMIT = 100_000


def decode(stream, max_event_bytes=LIMIT):
    return EventStreamDecoder(max_event_bytes).feed(stream)


def data_of(stream):
    return [event.data for event in decode(stream)]


def outcome(chunks, max_event_bytes=LIMIT, decoder=None):
    """All that a decoder lets see of a stream, however it is cut."""
    decoder = decoder or EventStreamDecoder(max_event_bytes)
    events = []
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
    except EventTooLarge as exc:
        return [*events, *exc.events], "too large"
    return events, decoder.retry_milliseconds, decoder.last_event_id


def single_bytes(stream):
    return [stream[i : i + 1] for i in range(len(stream))]


# The rules of the standard, one row each.


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        pytest.param(b"data: a\n\n", ["a"], id="LF"),
        pytest.param(b"data: a\r\r", ["a"], id="CR"),
        pytest.param(b"data: a\r\n\r\n", ["a"], id="CRLF"),
        pytest.param(b"data: a\r\n\n", ["a"], id="CRLF, then LF"),
        pytest.param(b"data: a\n\r\n", ["a"], id="LF, then CRLF"),
        pytest.param(b"data: a\n\r", ["a"], id="LF, then CR"),
        pytest.param(b"data: a\r\n", [], id="CRLF is one line end, not two"),
        pytest.param(b"data: a\n\ndata: b\r\n\r\ndata: c\r\r", ["a", "b", "c"], id="mixed"),
        pytest.param(b"data: a\ndata: b\n\n", ["a\nb"], id="lines are joined with LF"),
        pytest.param(b"data: a\rdata: b\r\r", ["a\nb"], id="joined with LF whatever ended them"),
        pytest.param(b"data:a\n\n", ["a"], id="no space"),
        pytest.param(b"data: a\n\n", ["a"], id="one space is dropped"),
        pytest.param(b"data:  a\n\n", [" a"], id="only one space is dropped"),
        pytest.param(b"data:\ta\n\n", ["\ta"], id="a tab is not dropped"),
        pytest.param(b"data: a \n\n", ["a "], id="a space at the end stays"),
        pytest.param(b"data: a: b\n\n", ["a: b"], id="only the first colon counts"),
        pytest.param(b"data\n\n", [""], id="no colon: an empty value"),
        pytest.param(b"data:\n\n", [""], id="an empty value"),
        pytest.param(b"data\ndata\n\n", ["\n"], id="two empty lines of data"),
        pytest.param(b"\n\n\n", [], id="empty lines end nothing"),
        pytest.param(b": hello\n\n", [], id="a comment is nothing"),
        pytest.param(b":data: a\n\n", [], id="a comment that looks like a field"),
        pytest.param(b"data: a\n: hello\ndata: b\n\n", ["a\nb"], id="a comment within an event"),
        pytest.param(b" data: a\n\n", [], id="a field name with a space before it"),
        pytest.param(b"data : a\n\n", [], id="a field name with a space after it"),
        pytest.param(b"DATA: a\n\n", [], id="field names are case-sensitive"),
        pytest.param(b"other: a\n\n", [], id="an unknown field"),
        pytest.param(b"id: 1\nevent: x\nretry: 1\n\n", [], id="no data, no event"),
        pytest.param(b"data: a", [], id="unfinished line"),
        pytest.param(b"data: a\n", [], id="unfinished event"),
        pytest.param(b"data: a\n\ndata: b\n", ["a"], id="only the last one is unfinished"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", ["a"], id="a byte order mark"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", [], id="only one byte order mark is dropped"),
        pytest.param(b"\n\xef\xbb\xbfdata: a\n\n", [], id="a byte order mark that is not leading"),
        pytest.param(b"data: \xef\xbb\xbfa\n\n", ["\ufeffa"], id="a byte order mark in data"),
        pytest.param(b"\xef\xbbdata: a\n\n", [], id="part of a byte order mark is part of a name"),
        pytest.param(b"data: \xe2\x82\xac\n\n", ["€"], id="UTF-8"),
        pytest.param(b"data: a\xffb\n\n", ["a\ufffdb"], id="a byte that is not UTF-8"),
        pytest.param(b"data: a\xe2\x82\ndata: b\n\n", ["a\ufffd\nb"], id="a character cut by a line end"),
        pytest.param(b"data: \xed\xa0\xbd\n\n", ["\ufffd" * 3], id="half a character as UTF-8"),
        pytest.param(b"data: a\0b\n\n", ["a\0b"], id="NUL in data"),
        *(
            pytest.param(f"data: a{mark}data: b\n\n".encode(), [f"a{mark}data: b"], id=f"no line end: {ord(mark):#x}")
            for mark in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"
        ),
    ],
)
def test_decoder_follows_the_standard(stream, data):
    assert data_of(stream) == data
    assert outcome(single_bytes(stream)) == outcome([stream])


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(b"event: x\ndata: a\n\n", [("a", "x", "")], id="a name"),
        pytest.param(b"event: x\nevent: y\ndata: a\n\n", [("a", "y", "")], id="the last name wins"),
        pytest.param(b"event: x\ndata: a\n\ndata: b\n\n", [("a", "x", ""), ("b", "", "")], id="a name is of one event"),
        pytest.param(b"event: x\n\ndata: a\n\n", [("a", "", "")], id="a name ends with an event without data"),
        pytest.param(b"event: x\nevent\ndata: a\n\n", [("a", "", "")], id="an empty name is none"),
        pytest.param(b"event: \xff\ndata: a\n\n", [("a", "\ufffd", "")], id="a name that is not UTF-8"),
        pytest.param(b"id: 7\ndata: a\n\ndata: b\n\n", [("a", "", "7"), ("b", "", "7")], id="an id stays"),
        pytest.param(b"id: 7\n\ndata: a\n\n", [("a", "", "7")], id="an id without data"),
        pytest.param(b"id: 7\ndata: a\n\nid\ndata: b\n\n", [("a", "", "7"), ("b", "", "")], id="an empty id resets"),
        pytest.param(b"id: 7\nid: 8\0\ndata: a\n\n", [("a", "", "7")], id="an id with NUL is ignored"),
        pytest.param(b"id: \xc3\xa9\ndata: a\n\n", [("a", "", "é")], id="an id is UTF-8"),
    ],
)
def test_event_carries_name_and_newest_id(stream, events):
    assert decode(stream) == [Event(*fields) for fields in events]


@pytest.mark.parametrize(
    ("stream", "milliseconds"),
    [
        (b"", None),
        (b"retry: 1500\n", 1500),
        (b"retry:0\n", 0),
        (b"retry: 007\n", 7),
        (b"retry: 1\nretry: 2\n", 2),
        (b"retry: 1\nretry: -2\n", 1),
        (b"retry: 1.5\n", None),
        (b"retry:  1\n", None),
        (b"retry: 1 \n", None),
        (b"retry\n", None),
        (b"other: 5\n", None),
        (b"zebra: 5\n", None),
        ("retry: ٣\n".encode(), None),
        (b"retry: " + b"9" * 15 + b"\n", 10**15 - 1),
        (b"retry: 1" + b"0" * 15 + b"\n", None),
        (b"retry: " + b"0" * 9_000 + b"5\n", 5),
        (b"retry: " + b"9" * 9_000 + b"\n", None),
        (b"retry: 1500", None),
    ],
)
def test_retry_takes_digits_only(stream, milliseconds):
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(stream)
    assert decoder.retry_milliseconds == milliseconds


def test_last_event_id_changes_only_when_its_event_is_complete():
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(b"id: 7\ndata: a\n")
    assert decoder.last_event_id == ""
    decoder.feed(b"\n")
    assert decoder.last_event_id == "7"
    decoder.feed(b"id: 8\n\n")
    assert decoder.last_event_id == "8"


def test_feed_of_nothing_returns_nothing_and_changes_nothing():
    decoder = EventStreamDecoder(LIMIT)
    chunks = [b"", b"\xef", b"", b"\xbb\xbf", b"", b"data: a\r", b"", b"\n", b"", b"\n"]
    assert [event.data for chunk in chunks for event in decoder.feed(chunk)] == ["a"]


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([b""], id="nothing"),
        pytest.param([b"\xef\xbb"], id="part of a byte order mark"),
        pytest.param([b"\xef\xbb\xbf"], id="a byte order mark"),
        pytest.param([b"\n"], id="between events"),
        pytest.param([b"\nda"], id="part of a name"),
        pytest.param([b"\n: "], id="part of a comment"),
        pytest.param([b"\ndata: x"], id="part of a line"),
        pytest.param([b"\ndata: x\n"], id="a line of data"),
        pytest.param([b"\nevent: x\n"], id="a name"),
        pytest.param([b"\nid: x\n"], id="an id"),
        pytest.param([b"\nid: x\n\n"], id="an id without data"),
        pytest.param([b"\ndata: x\r"], id="carriage return of a line"),
        pytest.param([b"\ndata: x\r\r"], id="carriage return of an event"),
        pytest.param([b"", b"\n", b"\ndata: x"], id="after an empty chunk"),
    ],
)
@pytest.mark.parametrize("after", [b"", b"\n", b"\xef\xbb\xbfdata: y\n\n", b"data: y\r\n\r\n"])
@pytest.mark.parametrize(
    "event",
    [
        b"data: a\n\n",
        b"data: a\r\n\r\n",
        b"data: a\r\r",
        b"data: a\n\r",
        b"id: 9\ndata: a\n\n",
        b"id: 9\r\ndata: a\r\n\r\n",
        b"id: \ndata: a\n\n",
        b"id: \0\ndata: a\n\n",
        b"id: 9\n\n",
    ],
)
def test_whole_event_in_one_chunk_is_read_in_the_state_it_meets(before, event, after):
    chunks = [*before, event, after, event]
    assert outcome(chunks) == outcome([b"".join(chunks)]) == reference_events(b"".join(chunks))


@pytest.mark.parametrize("byte", [b"\0", b"\t", b"\n", b"\x0b", b"\r", b" "])
def test_after_a_carriage_return_only_a_line_feed_belongs_to_it(byte):
    chunks = [b"data: a\r", byte + b"data: b\n\n"]
    assert outcome(chunks) == reference_events(b"".join(chunks))


@pytest.mark.parametrize("data", ["", "a", "x" * (LIMIT - 6)])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_a_whole_event_in_one_chunk_is_not_taken_apart_by_lines(monkeypatch, data, end):
    """Most chunks of an agent are such: a token passes here."""
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(b"id: 7\n\n")
    monkeypatch.setattr(decoder, "_take_lines", None)
    assert decoder.feed(f"data: {data}{end}".encode()) == [Event(data, "", "7")]


@pytest.mark.parametrize("event_id", ["8", "größer", "x" * (LIMIT - 17)])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_nor_is_one_with_an_id(monkeypatch, event_id, end):
    """The agent's run can be rejoined."""
    decoder = EventStreamDecoder(LIMIT)
    decoder.feed(b"id: 7\n\n")
    monkeypatch.setattr(decoder, "_take_lines", None)
    assert decoder.feed(f"id: {event_id}{end}data: a{end}{end}".encode()) == [Event("a", "", event_id)]
    assert decoder.feed(f"data: b{end}{end}".encode()) == [Event("b", "", event_id)]


def test_event_is_returned_by_the_chunk_that_completes_it():
    """A carriage return ends the line at once: waiting for a line feed after it would hold a token back."""
    decoder = EventStreamDecoder(LIMIT)
    assert [len(decoder.feed(chunk)) for chunk in (b"data: a\r", b"\r", b"\n", b"data: b\n\n")] == [
        0,
        1,
        0,
        1,
    ]


# Any split gives the same, and the same as a second parser.


def reference_events(stream):  # noqa: C901 - the standard's steps in one place, to be compared with its text
    """Read the standard's steps literally, a character at a time, with no regard for cost."""
    text = stream.decode("utf-8", "replace")
    text = text.removeprefix("\ufeff")
    lines, line = [], ""
    for character in text.replace("\r\n", "\n").replace("\r", "\n"):
        if character == "\n":
            lines.append(line)
            line = ""
        else:
            line += character
    events, data, event_type, id_buffer, last_event_id, retry = [], "", "", "", "", None
    for line in lines:
        if line == "":
            last_event_id = id_buffer
            if data != "":
                events.append(Event(data[:-1], event_type, last_event_id))
            data, event_type = "", ""
            continue
        if line.startswith(":"):
            continue
        name, value = line.split(":", 1) if ":" in line else (line, "")
        value = value.removeprefix(" ")
        if name == "event":
            event_type = value
        elif name == "data":
            data += value + "\n"
        elif name == "id" and "\0" not in value:
            id_buffer = value
        elif name == "retry" and value and all(character in "0123456789" for character in value):
            retry = int(value)
    return events, retry, last_event_id


syntax = [b"data", b"event", b"id", b"retry", b"12", b":", b" ", b"x", b"\0", b"\n", b"\r", b"\r\n", b"\n\n"]
whole = [b"data: a", b"data: {}\n\n", b"data: b\r\n\r\n"]
encoding = [b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\xbf", b"\xe2\x80\xa8", b"\xc2\x85"]
pieces = st.sampled_from([*syntax, *whole, *encoding])
streams = st.one_of(st.binary(max_size=60), st.lists(pieces, max_size=25).map(b"".join))


@st.composite
def cut_streams(draw):
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    return stream, [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(streams)
@example(b"data: a\r\n\r\ndata: b\n\r")
def test_any_bytes_decode_as_the_reference_reads_them(stream):
    assert outcome([stream]) == reference_events(stream)


@given(cut_streams())
@example((b"data: a\n\ndata: b\n\n", [b"data: a\n\n", b"data: b\n\n"]))
def test_any_split_decodes_the_same(cut_stream):
    stream, chunks = cut_stream
    assert outcome(chunks) == outcome([stream])
    assert outcome(single_bytes(stream)) == outcome([stream])


@given(
    streams, st.sampled_from([b"data: a\n\n", b"data: \xff\r\n\r\n", b"data: a\n", b"data: a\r\r", b"data: a\n\n\n"])
)
def test_a_chunk_that_is_a_whole_event_decodes_as_any_split_of_it(stream, chunk):
    assert outcome([stream, chunk, b"data: next\n\n"]) == outcome([stream + chunk + b"data: next\n\n"])


@given(cut_streams(), st.integers(1, 12))
def test_any_split_meets_the_limit_at_the_same_event(cut_stream, max_event_bytes):
    stream, chunks = cut_stream
    assert outcome(chunks, max_event_bytes) == outcome([stream], max_event_bytes)
    assert outcome(single_bytes(stream), max_event_bytes) == outcome([stream], max_event_bytes)


# Limits.


@pytest.mark.parametrize(
    "at_limit",
    [
        pytest.param(b"data: 7890\n\n", id="one line"),
        pytest.param(b"data: 7890", id="an unfinished line"),
        pytest.param(b"data:\ndata:\n\n", id="two lines"),
        pytest.param(b"id: 1\ndata:\n\n", id="every field counts"),
        pytest.param(b"unknown: x\n\n", id="an unknown field counts"),
        pytest.param(b": 34567890\n\n", id="a comment"),
        pytest.param(b": 34567890", id="an unfinished comment"),
        pytest.param(b": 34\n: 34\n: 34\ndata: 7890\n\n", id="comments before do not count"),
        pytest.param(b"data: 7890\n\ndata: 7890\n\n", id="each event counts alone"),
        pytest.param(b"data: 7890\r\n\r\n", id="line ends do not count"),
    ],
)
def test_event_at_the_limit_passes_and_one_over_is_refused(at_limit):
    for chunks in ([b"\n", at_limit], single_bytes(at_limit)):
        assert "too large" not in outcome(chunks, 10)
        assert outcome(chunks, 9)[1] == "too large"


def test_too_large_event_reports_the_limit_and_the_events_before_it():
    decoder = EventStreamDecoder(10)
    with pytest.raises(EventTooLarge, match="larger than 10 bytes") as refused:
        decoder.feed(b"data: a\n\ndata: b\n\ndata: 78901\n\n")
    assert refused.value.max_event_bytes == 10
    assert [event.data for event in refused.value.events] == ["a", "b"]


def test_decoder_refuses_everything_after_a_too_large_event():
    decoder = EventStreamDecoder(10)
    decoder.feed(b"\n")
    with pytest.raises(EventTooLarge):
        decoder.feed(b"data: a\n\ndata: 78901")
    for chunk in (b"\n\ndata: b\n\n", b"data: c\n\n"):
        with pytest.raises(EventTooLarge) as again:
            decoder.feed(chunk)
        assert again.value.events == ()


@pytest.mark.parametrize(
    "start", [b"data: ", b": ", b"", b"data: x\ndata: "], ids=["data", "comment", "name", "second line"]
)
def test_endless_line_is_refused_within_bounded_memory(start):
    max_event_bytes, chunk = 200_000, b"x" * 1_000
    decoder = EventStreamDecoder(max_event_bytes)
    decoder.feed(start)
    tracemalloc.start()
    try:
        assert outcome([chunk] * (10 * max_event_bytes // len(chunk)), decoder=decoder) == ([], "too large")
        kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 0.1 * max_event_bytes
    assert peak_bytes < 1.3 * max_event_bytes  # a growing buffer has room to spare


def test_long_event_in_single_bytes_costs_no_more_per_byte():
    """Half a second at most; with a buffer that is copied for each byte it takes a minute."""
    stream = b"data: " + b"x" * 500_000 + b"\n\n"
    decoder = EventStreamDecoder(1_000_000)
    started = time.process_time()
    events = [event for i in range(len(stream)) for event in decoder.feed(stream[i : i + 1])]
    assert len(events) == 1
    assert time.process_time() - started < 5


# Encoding.


@pytest.mark.parametrize(
    ("arguments", "stream"),
    [
        ({"data": "a"}, b"data: a\n\n"),
        ({"data": ""}, b"data: \n\n"),
        ({"data": " a"}, b"data:  a\n\n"),
        ({"data": "a\nb\rc\r\nd"}, b"data: a\ndata: b\ndata: c\ndata: d\n\n"),
        ({"data": "a\n"}, b"data: a\ndata: \n\n"),
        ({"data": "a\u2028b"}, "data: a\u2028b\n\n".encode()),
        ({"data": "a", "event": "x"}, b"event: x\ndata: a\n\n"),
        ({"data": "a", "event_id": "e:7"}, b"id: e:7\ndata: a\n\n"),
        ({"data": "a", "event_id": ""}, b"id: \ndata: a\n\n"),
        ({"data": "a", "retry_milliseconds": 0}, b"retry: 0\ndata: a\n\n"),
    ],
)
def test_event_is_encoded(arguments, stream):
    assert encode_event(**arguments) == stream


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\r\n", "a\0"])
@pytest.mark.parametrize("field", ["event", "event_id"])
def test_name_or_id_that_would_break_its_field_is_refused(field, text):
    with pytest.raises(ValueError, match=field):
        encode_event("a", **{field: text})


def test_event_that_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match="negative"):
        encode_event("a", retry_milliseconds=-1)
    with pytest.raises(ValueError, match="surrogates"):
        encode_event("\ud83d")


@pytest.mark.parametrize(("text", "stream"), [("", b":\n"), ("a", b": a\n"), ("a\ndata: b", b": a\n: data: b\n")])
def test_comment_is_encoded(text, stream):
    assert encode_comment(text) == stream


characters = st.characters(exclude_categories=["Cs"])
texts = st.text(st.one_of(characters, st.sampled_from("\r\n\u2028\0: ")))
field_texts = st.text(st.one_of(characters, st.sampled_from("\u2028\x85: "))).filter(
    lambda text: not set("\r\n\0") & set(text)
)


@given(texts, field_texts, field_texts, st.integers(0, 10**15 - 1), texts)
def test_what_is_encoded_decodes_to_the_same(data, name, event_id, retry, comment):
    decoder = EventStreamDecoder(LIMIT)
    event = encode_event(data, event=name, event_id=event_id, retry_milliseconds=retry)
    stream = encode_comment(comment) + event + encode_comment(comment)
    line_feeds_only = data.replace("\r\n", "\n").replace("\r", "\n")
    assert decoder.feed(stream) == [Event(line_feeds_only, name, event_id)]
    assert decoder.retry_milliseconds == retry
