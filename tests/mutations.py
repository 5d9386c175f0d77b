"""Files that went wrong: seeded damage to bytes, JSON, lines of JSON, TOML, CSV, zips and safetensors."""

from __future__ import annotations

import csv
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

Form = Literal["bytes", "json", "jsonl", "toml", "csv", "tsv", "zip", "safetensors"]
Mutation = Callable[[Random, bytes], bytes]

DEEP = 20_000
"""Brackets within each other: more than any parser that recurses can take."""
NUMBERS = (b"-1", b"0", b"1e999", b"-1e999", b"NaN", b"Infinity", b"9" * 5000, b"1e-400", b"0x10", b"01", b"1_0")
TEXTS = (
    *("\0", "\ufeff", "\r\n", "\u2028", "\\ud800", "\\u0000", "../../outside", "/etc/passwd", "%s%n{0}{", "\x1b[31m"),
    *("'", '"', "\\", "[", "{", "}", "]", ",", ":", "<script>", "${HOME}", "é", "\U0001f600", "x" * 100_000),
)
RAW = (b"\xed\xa0\x80", b"\xff\xfe", b"\x80", b"\xc0\xaf", b"\0" * 64, b"\xff" * 64, b"PK\x03\x04", b"\x89PNG\r\n")
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), "", "0", "nan", "x", "\0", "\ud800", "\n", "../../outside"),
    *("/etc/passwd", "a" * 300, "x" * 100_000, [], {}, [[]], [{}], {"": None}, [None] * 1000, [0] * 10_000),
    *({"a": {"b": {"c": [1, 2, {"d": None}]}}}, ["00000/0000"], "00000/0000", "00000", "shapes", "photo", [1, 2, 3, 4]),
)
TOML_VALUES = (
    *("1", "-1", "0.5", "nan", "inf", "true", '""', '"x"', '"../../outside"', "[]", "{}", "[1, 'a']", "[[1]]"),
    *("1979-05-27", "'''", '"\\u0000"', "{a = {b = 1}}", "[" * DEEP, '"\\ud800"', "", "=", '["positive"]', "9" * 40),
)


def mutate(rng: Random, data: bytes, form: Form) -> tuple[bytes, list[str]]:
    """A damaged file, and what was done to it: mostly one thing, at times several."""
    done, own = [], STRUCTURED.get(form, ())
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3, 8))):
        mutation = rng.choice(own) if own and rng.random() < 0.6 else rng.choice(BYTES)
        try:
            data = mutation(rng, data)
        except Exception:
            continue  # what an earlier one left is of this form no more
        done.append(mutation.__name__)
    return data, done


def flip_a_bit(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def set_bytes(rng: Random, data: bytes) -> bytes:
    at, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 64))
    return data[:at] + rng.choice((b"\0", b"\xff", b" ", b"\x7f")) * length + data[at + length :]


def insert(rng: Random, data: bytes) -> bytes:
    at = rng.choice((0, len(data), rng.randint(0, len(data))))
    what = rng.choice((*RAW, *(text.encode() for text in TEXTS), rng.randbytes(rng.randint(1, 40))))
    return data[:at] + what + data[at:]


def delete(rng: Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 1, 2, 8, 100)) :]


def truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.choice((0, 1, 7, len(data) // 2, len(data) - 1, rng.randrange(len(data))))]


def repeat(rng: Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    end = start + rng.randint(1, min(len(data), 200))
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def splice(rng: Random, data: bytes) -> bytes:
    """A piece of it over another."""
    length = rng.randint(1, max(1, len(data) // 4))
    source, target = rng.randrange(len(data)), rng.randrange(len(data))
    return data[:target] + data[source : source + length] + data[target + length :]


def other_number(rng: Random, data: bytes) -> bytes:
    places = [at for at, byte in enumerate(data[:100_000]) if 48 <= byte < 58]
    at = rng.choice(places)
    end = at
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    return data[:at] + rng.choice(NUMBERS) + data[end:]


def other_ends_of_lines(rng: Random, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"")))


def other_encoding(rng: Random, data: bytes) -> bytes:
    return data.decode("utf-8").encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")), "replace")


def nest(rng: Random, data: bytes) -> bytes:
    opening, closing = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")")))
    at, depth = rng.choice((0, rng.randint(0, len(data)))), rng.choice((900, DEEP))
    return data[:at] + opening * depth + rng.choice((b"", b"1" + closing * depth)) + data[at:]


def change_json(rng: Random, data: bytes) -> bytes:
    return _dumped(changed(rng, json.loads(data)))


def repeat_a_key(rng: Random, data: bytes) -> bytes:
    """JSON allows a key twice; the first key of the file is set again, behind."""
    content = json.loads(data)
    key = rng.choice(list(content))
    return _dumped(content)[:-1] + b", " + _dumped(key) + b": " + _dumped(rng.choice(VALUES)) + b"}"


def other_root(rng: Random, data: bytes) -> bytes:
    content = json.loads(data)
    return _dumped(rng.choice((rng.choice(VALUES), [content], {"a": content}, list(content))))


def change_a_line(rng: Random, data: bytes) -> bytes:
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = rng.choice((change_json, change_json, change_json, other_root, repeat_a_key))(rng, lines[at])
    return b"\n".join(lines) + b"\n"


def move_lines(rng: Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    if rng.random() < 0.3:
        rng.shuffle(lines)
    return b"".join(lines[:at] + rng.choice(([], [lines[at]] * 2, [b"\n"], [b"null\n"], [b"{}\n"])) + lines[at + 1 :])


def change_toml(rng: Random, data: bytes) -> bytes:
    lines = data.decode().splitlines()
    at = rng.choice([number for number, line in enumerate(lines) if "=" in line])
    key, _, _ = lines[at].partition("=")
    lines[at] = rng.choice((f"{key}= {rng.choice(TOML_VALUES)}", f"renamed_{lines[at]}", ""))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def change_toml_table(rng: Random, data: bytes) -> bytes:
    lines = data.decode().splitlines()
    at = rng.choice([number for number, line in enumerate(lines) if line.startswith("[")])
    lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, ["[a.b.c]"], ["[[a]]"], [f"[{lines[at]}]"]))
    return "\n".join(lines).encode()


def change_csv(rng: Random, data: bytes, delimiter: str = ",") -> bytes:
    rows = list(csv.reader(io.StringIO(data.decode()), delimiter=delimiter))
    row = rng.choice(rows)
    at = rng.randrange(len(row))
    how = rng.randrange(5)
    if how == 0:
        row[at] = rng.choice((*TEXTS, *(number.decode() for number in NUMBERS), "", "nan", "\ud800"))
    elif how == 1:
        del row[at]
    elif how == 2:
        row.insert(at, rng.choice(TEXTS))
    elif how == 3:
        rows.insert(rng.randrange(len(rows)), rng.choice(rows))
    else:
        rows.remove(row)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def change_tsv(rng: Random, data: bytes) -> bytes:
    return change_csv(rng, data, "\t")


def change_a_member(rng: Random, data: bytes) -> bytes:
    """Of a zip whose checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    at, how = rng.randrange(len(members)), rng.randrange(4)
    info, content = members[at]
    if how < 2 and content:
        members[at] = info, rng.choice(BYTES)(rng, content)
    elif how == 2:
        info.filename = rng.choice((*TEXTS, "../../outside", members[0][0].filename, info.filename + "x"))[:60_000]
    else:
        members[at : at + 1] = rng.choice(([], [members[at]] * 2))
    stream = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(stream, "w") as archive:
        for info, content in members:
            archive.writestr(info, content)
    return stream.getvalue()


def change_header(rng: Random, data: bytes) -> bytes:
    """Of a safetensors file, with its length right again."""
    length = int.from_bytes(data[:8], "little")
    header = rng.choice((change_json, change_json, repeat_a_key))(rng, data[8 : 8 + length])
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def change_metadata(rng: Random, data: bytes) -> bytes:
    """Of a safetensors file, within the JSON that is a text there."""
    length = int.from_bytes(data[:8], "little")
    content = json.loads(data[8 : 8 + length])
    owner = content["__metadata__"]
    key = rng.choice(list(owner))
    owner[key] = _dumped(changed(rng, json.loads(owner[key]))).decode()
    header = _dumped(content)
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def changed(rng: Random, content: Any) -> Any:
    """JSON with another value, a key less or more, or two values exchanged, somewhere within."""
    places = list(_places(content))
    owner, key = rng.choice(places)
    how = rng.randrange(6)
    if how < 3:
        owner[key] = rng.choice(VALUES)
    elif how == 3:
        del owner[key]
    elif how == 4:
        other, other_key = rng.choice(places)
        owner[key], other[other_key] = other[other_key], owner[key]
    elif isinstance(owner, dict):
        owner[rng.choice((*map(str, owner), "", "sha256", "\ud800", "x" * 1000, "../x"))] = rng.choice(VALUES)
    else:
        owner.insert(key, rng.choice(VALUES))
    return content


def _places(content: Any) -> Any:
    """Every (container, key) of a JSON value."""
    keys: Sequence[Any] = list(content) if isinstance(content, dict) else range(len(content))
    for key in keys if isinstance(content, dict | list) else ():
        yield content, key
        if isinstance(content[key], dict | list):
            yield from _places(content[key])


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


BYTES: Sequence[Mutation] = (
    *(flip_a_bit, flip_a_bit, set_bytes, insert, insert, delete, truncate, repeat, splice, other_number),
    *(other_ends_of_lines, other_encoding, nest),
)
STRUCTURED: dict[Form, Sequence[Mutation]] = {
    "json": (change_json, change_json, change_json, repeat_a_key, other_root),
    "jsonl": (change_a_line, change_a_line, change_a_line, move_lines),
    "toml": (change_toml, change_toml, change_toml_table),
    "csv": (change_csv,),
    "tsv": (change_tsv,),
    "zip": (change_a_member,),
    "safetensors": (change_header, change_metadata),
}
