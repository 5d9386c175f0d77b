"""The judge of UniGenBench++ against a real server that misbehaves: what is tried again, kept, and told."""

from __future__ import annotations

import socket
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judge_items import MODEL, POINTS, is_honest, item, items, judged, lines, options, picture
from judge_server import Fault, JudgeServer, judging, verdicts

from agsm_bench.errors import MissingError, UserError
from agsm_bench.unigenbench.endpoint import KEYS, completions_url
from agsm_bench.unigenbench.judge import PATIENCE, endpoint_of, judge_images
from agsm_bench.unigenbench.judgements import FILE, JudgementStore

WELL = [True, False, True]


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with judging(JudgeServer()) as judge:
        yield judge


def test_an_image_is_asked_for_once_with_its_picture_and_question(tmp_path: Path, judge: JudgeServer) -> None:
    (line,) = judged(tmp_path, judge.url, items(1))
    assert is_honest(line, 0)
    assert [verdict["name"] for verdict in line["verdicts"]] == [point.name for point in POINTS]
    assert line["verdicts"][2]["reason"] == "Seen 3."
    assert (line["sample_id"], line["image"], line["model"]) == ("00000/0000", item(0).sha256, MODEL)
    (body,) = judge.bodies
    assert (body["model"], body["temperature"]) == (MODEL, 0)
    image, text = body["messages"][0]["content"]
    assert b64decode(image["image_url"]["url"].partition(",")[2]) == picture(0)
    assert "Prompt 0." in text["text"]
    assert judge.paths == ["/v1/chat/completions"]
    judged(tmp_path, judge.url, items(1))
    assert len(judge.bodies) == 1


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(status, body='{"error": {"message": "busy"}}') for status in (408, 429, 500, 503)),
        Fault(429, {"Retry-After": "0"}, body=""),
        Fault(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, body=""),
        Fault(503, {"Retry-After": "soon"}, body=""),
        Fault(cut=True),
        Fault(content=verdicts(WELL), body="{" * 1000, cut=True),
        Fault(content=verdicts(WELL), delay=1.5),
    ],
    ids=["408", "429", "500", "503", "now", "past", "soon", "cut", "half", "slow"],
)
def test_what_may_pass_is_tried_again(tmp_path: Path, judge: JudgeServer, fault: Fault) -> None:
    judge.faults[picture(1)] = [fault, fault]
    found = judged(tmp_path, judge.url, items(3), judge_timeout=0.5 if fault.delay else 30)
    assert all(is_honest(line, number) for number, line in enumerate(found))
    assert judge.answered == {picture(0): 1, picture(1): 3, picture(2): 1}


def test_a_wait_that_the_server_asks_for_is_kept(tmp_path: Path, judge: JudgeServer) -> None:
    judge.faults[picture(0)] = [Fault(429, {"Retry-After": "1"}, body="")]
    judged(tmp_path, judge.url, items(1))
    first, second = judge.times
    assert second - first >= 1.0


def test_a_wait_of_a_day_is_not(tmp_path: Path, judge: JudgeServer) -> None:
    judge.faults[picture(1)] = [Fault(429, {"Retry-After": "86400"}, body='{"error": {"message": "used up"}}')]
    found = judged(tmp_path, judge.url, items(3))
    assert [line["failed"] for line in found] == [None, "HTTP 429: used up", None]


def test_what_does_not_pass_is_kept_with_its_reason_and_asked_again_last(tmp_path: Path, judge: JudgeServer) -> None:
    judge.faults[picture(0)] = [Fault(500, body="out of memory")] * 2
    found = judged(tmp_path, judge.url, items(3), judge_retries=1)
    assert [line["failed"] for line in found] == ["HTTP 500: out of memory", None, None]
    assert found[0]["verdicts"] == []
    judge.bodies.clear()
    found = judged(tmp_path, judge.url, items(4))
    assert all(is_honest(line, number) for number, line in enumerate(found))
    asked = [body["messages"][0]["content"][1]["text"].split("Prompt ")[1][0] for body in judge.bodies]
    assert asked == ["1", "0"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(content="A nice picture."), "the answer holds no JSON with verdicts"),
        (Fault(content=verdicts(WELL)[:-9]), "the answer holds no JSON with verdicts"),
        (Fault(content=verdicts(WELL[:2])), "the answer has verdicts for the points 1, 2, not for 1 to 3, each once"),
        (Fault(content=verdicts(WELL).replace("yes", "perhaps")), "the answer to point 1 is neither yes nor no"),
        (Fault(content=verdicts(WELL), finish="length"), "the answer was cut off, as it was too long for the server"),
        (Fault(content=None), "the answer is empty"),
        (Fault(content=" "), "the answer is empty"),
        (Fault(body="<html>Log in</html>"), "what came is no JSON"),
        (Fault(body='{"choices": []}'), "what came is no chat completion"),
        (Fault(body="[]"), "what came is no chat completion"),
        (Fault(400, body='{"message": "too large"}'), "HTTP 400: too large"),
        (Fault(413, body=""), "HTTP 413"),
        (Fault(422, body='{"detail": "no such field"}'), "HTTP 422: no such field"),
        (Fault(302, {"Location": "/login"}, body=""), "HTTP 302"),
    ],
)
def test_an_answer_that_is_none_fails_its_image_alone(
    tmp_path: Path, judge: JudgeServer, fault: Fault, reason: str
) -> None:
    judge.faults[picture(1)] = [fault]
    found = judged(tmp_path, judge.url, items(3))
    assert [line["failed"] for line in found] == [None, reason, None]
    assert judge.answered[picture(1)] == 1
    assert all(is_honest(line, number) for number, line in enumerate(judged(tmp_path, judge.url, items(3))))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, ["no such thing", "--judge-model judge", "takes images"]),
        (401, ["no such thing", "AGSM_BENCH_JUDGE_KEY"]),
        (404, ["no such thing", "--judge-model judge", "/v1/models"]),
        (307, ["--judge-url"]),
    ],
)
def test_a_first_request_that_is_refused_ends_it_at_once(
    tmp_path: Path, judge: JudgeServer, status: int, words: list[str]
) -> None:
    judge.always = Fault(status, body='{"error": {"message": "no such thing"}}')
    with pytest.raises(UserError) as caught:
        judged(tmp_path, judge.url, items(20))
    assert all(word in str(caught.value) for word in words)
    assert len(judge.bodies) == 1
    assert not (tmp_path / FILE).exists()


def test_an_image_that_is_refused_holds_nothing_up_once_the_judge_has_answered(
    tmp_path: Path, judge: JudgeServer
) -> None:
    judged(tmp_path, judge.url, items(1))
    judge.faults[picture(1)] = [Fault(400, body="")]
    assert [line["failed"] for line in judged(tmp_path, judge.url, items(3))] == [None, "HTTP 400", None]
    judge.always = Fault(401, body="")
    with pytest.raises(UserError, match="401"):
        judged(tmp_path, judge.url, items(4))


def test_an_address_where_nobody_answers_is_told_after_the_first_image(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(MissingError, match="No judge answers"):
        judged(tmp_path, url, items(20), judge_retries=1)


def test_a_judge_that_dies_is_not_asked_for_every_image(tmp_path: Path, judge: JudgeServer) -> None:
    judge.always = Fault(500, body="")
    with pytest.raises(MissingError, match=f"{PATIENCE} images in a row"):
        judged(tmp_path, judge.url, items(80), judge_retries=0, judge_concurrency=2)
    assert PATIENCE <= len(judge.bodies) < 80
    assert all(line["failed"] == "HTTP 500" for line in lines(tmp_path))
    judge.always = None
    found = judged(tmp_path, judge.url, items(80))
    assert all(is_honest(line, number) for number, line in enumerate(found))


@pytest.mark.parametrize("name", KEYS)
def test_the_key_is_sent_and_never_kept(
    tmp_path: Path, judge: JudgeServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, " secret-key\n")
    judge.faults[picture(1)] = [Fault(403, body='{"error": "the key secret-key may not"}')]
    found = judged(tmp_path, judge.url, items(2))
    assert {each["Authorization"] for each in judge.headers} == {"Bearer secret-key"}
    assert found[1]["failed"] == "HTTP 403: the key (the key) may not"
    assert "secret-key" not in repr(endpoint_of(options(judge.url)))
    judge.always = Fault(401, body="secret-key is wrong")
    with pytest.raises(UserError) as caught:
        judged(tmp_path, judge.url, items(4))
    assert "secret-key" not in str(caught.value)


def test_without_a_key_none_is_sent(tmp_path: Path, judge: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(netrc))
    judged(tmp_path / "out", judge.url, items(1))
    assert "Authorization" not in judge.headers[0]


def test_an_image_that_is_gone_or_altered_is_not_sent(tmp_path: Path, judge: JudgeServer) -> None:
    def gone() -> bytes:
        raise MissingError("The image is absent.", "Make it again.")

    images = [item(0), replace(item(1), png=gone), replace(item(2), png=lambda: picture(9))]
    found = judged(tmp_path, judge.url, images)
    reasons = [None, "The image is absent. Make it again.", "the image is not the one that was recorded"]
    assert [line["failed"] for line in found] == reasons
    assert judge.answered == {picture(0): 1}


def test_images_without_test_points_are_not_asked_for(tmp_path: Path, judge: JudgeServer) -> None:
    assert judged(tmp_path, judge.url, [replace(item(0), testpoints=())]) == []
    assert not judge.bodies


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"judge_url": None}, "--judge-url"),
        ({"judge_url": "localhost:8000"}, "--judge-url"),
        ({"judge_url": "ftp://there/v1"}, "--judge-url"),
        ({"judge_url": "http://there:99999"}, "--judge-url"),
        ({"judge_model": " "}, "--judge-model"),
        ({"judge_concurrency": 0}, "--judge-concurrency"),
        ({"judge_retries": -1}, "--judge-retries"),
        ({"judge_timeout": 0.0}, "--judge-timeout"),
        ({"judge_backoff": -1.0}, "--judge-backoff"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, wrong: dict[str, Any], word: str) -> None:
    with JudgementStore.open(tmp_path) as store, pytest.raises(UserError, match=word):
        judge_images(items(1), store, options("http://localhost", **wrong))


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("http://h:8000", "http://h:8000/v1/chat/completions"),
        ("http://h:8000/", "http://h:8000/v1/chat/completions"),
        ("https://h/v1/", "https://h/v1/chat/completions"),
        ("https://h/openai/v2", "https://h/openai/v2/chat/completions"),
        (" https://h/v1/chat/completions ", "https://h/v1/chat/completions"),
        ("https://h/x?api-version=1", "https://h/x/chat/completions?api-version=1"),
    ],
)
def test_the_address_may_be_that_of_the_server_or_of_its_api(given: str, path: str) -> None:
    assert completions_url(given) == path
