"""The judge of UniGenBench++: a vision-language model says yes or no to every test point of an image.

An image is judged once: its verdicts are kept as they come, under the image, the model's name and the question
(`judgements.Asked`), and the next call does what lacks. Images whose judgement failed are kept with the reason, and
asked for again after those that were not asked for yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from threading import Event

from agsm_bench.contracts import Progress, check_options
from agsm_bench.errors import MissingError, UserError
from agsm_bench.unigenbench.endpoint import (
    KEYS,
    Endpoint,
    JudgeError,
    PassingError,
    RefusedError,
    completions_url,
    key_from_environment,
)
from agsm_bench.unigenbench.judgements import Asked, Judgement, JudgementStore
from agsm_bench.unigenbench.kinds import Point
from agsm_bench.unigenbench.options import JudgeOptions
from agsm_bench.unigenbench.question import question, question_id, read_answer

PHASE = "judge images"
PATIENCE = 10
"""Images in a row without an answer, after which the judge counts as gone."""
OF_THE_SETUP = (401, 402, 403, 404, 405)
"""Statuses that hang on the key, the model or the address, and not on the image."""

_AGAIN = "Then run the same command again: what was judged is kept."


@dataclass(frozen=True)
class JudgeItem:
    """An image to judge."""

    sample_id: str
    png: Callable[[], bytes]
    """Reads the file; called from a thread, once it is needed."""
    sha256: str
    """Of the file, hex."""
    prompt: str
    testpoints: Sequence[Point]

    def asked(self, model: str) -> Asked:
        """What its judgement by this model is kept under."""
        return Asked(self.sample_id, self.sha256, model, question_id(question(self.prompt, self.testpoints)))


def judge_images(
    items: Iterable[JudgeItem],
    store: JudgementStore,
    options: JudgeOptions,
    progress: Progress = lambda what, done, total: None,
) -> None:
    """Judges what lacks verdicts; then sorts the store's file. Items without test points are left out.

    Stopped by Ctrl-C or an error it waits for the answers under way, and keeps them.

    Args:
        items: the images.
        store: open for writing.
        options: of the judge.
        progress: told of every image.

    Raises:
        UserError: an option is wrong, or the first request is refused for its key, model or address.
        MissingError: nobody answers the first request, or `PATIENCE` images in a row.
    """
    endpoint = endpoint_of(options)
    wanted = {item.asked(endpoint.model): item for item in items if item.testpoints}
    lacking = _lacking(wanted, store)
    done = len(wanted) - len(lacking)
    progress(PHASE, done, len(wanted))
    watch, stopped = _Watch(endpoint, _has_answered(endpoint.model, store)), Event()

    def judge(asked: Asked) -> JudgeError | None:
        judgement, error = _judged(asked, wanted[asked], endpoint, stopped)
        # not what says nothing of the image: a try that was called off, a wrong key
        if error is None or not (stopped.is_set() or watch.hopeless(error)):
            store.add(judgement)
        return error

    with ThreadPoolExecutor(options.judge_concurrency) as pool:
        try:
            for batch in (lacking[:1], lacking[1:]):  # the first alone: a wrong key is not to cost more than it
                for future in as_completed([pool.submit(judge, asked) for asked in batch]):
                    watch.see(future.result())
                    done += 1
                    progress(PHASE, done, len(wanted))
        finally:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    store.rewrite()


def endpoint_of(options: JudgeOptions) -> Endpoint:
    """Where these options ask; raises UserError for those that cannot be."""
    check_options(options)
    if not options.judge_url:
        raise UserError("There is no judge.", "Add --judge-url, e.g. http://localhost:8000/v1, and --judge-model.")
    if not options.judge_model.strip():
        raise UserError("--judge-model is empty.", "Use the name that the judge has at its server.")
    url = completions_url(options.judge_url)
    return Endpoint(
        url=url,
        model=options.judge_model.strip(),
        timeout=options.judge_timeout,
        retries=options.judge_retries,
        backoff=options.judge_backoff,
        key=key_from_environment(url),
    )


def _lacking(wanted: Mapping[Asked, JudgeItem], store: JudgementStore) -> list[Asked]:
    """Those without verdicts, sorted, failed ones last: what fails always is not to hold up the rest."""
    known = store.all
    new = sorted(asked for asked in wanted if asked not in known)
    return new + sorted(asked for asked in wanted if asked in known and known[asked].failed)


def _has_answered(model: str, store: JudgementStore) -> bool:
    return any(judgement.verdicts for asked, judgement in store.all.items() if asked.model == model)


def _judged(asked: Asked, item: JudgeItem, endpoint: Endpoint, stopped: Event) -> tuple[Judgement, JudgeError | None]:
    """The judgement; where the server gave no answer, that too."""
    try:
        png = item.png()
        if sha256(png).hexdigest() != item.sha256:
            raise ValueError("the image is not the one that was recorded")
        text = endpoint.ask(question(item.prompt, item.testpoints), png, stopped)
        return Judgement(asked, read_answer(text, item.testpoints)), None
    except JudgeError as error:
        return Judgement(asked, failed=str(error)), error
    except (UserError, OSError, ValueError) as error:
        return Judgement(asked, failed=str(error) or type(error).__name__), None


@dataclass
class _Watch:
    """Raises once it makes no sense to go on."""

    endpoint: Endpoint
    known: bool
    """Whether this model has ever answered."""
    requests: int = 0
    """Images done in this call."""
    silent: int = 0
    """Images in a row without an answer."""

    def see(self, error: JudgeError | None) -> None:
        """Called for every image."""
        if error and (hopeless := self.hopeless(error)):
            raise hopeless from error
        self.requests += 1
        self.silent = self.silent + 1 if error else 0
        if self.silent >= PATIENCE:
            raise MissingError(
                f"The judge at {self.endpoint.url} gave no answer for {PATIENCE} images in a row ({error}).",
                f"See what it lacks. {_AGAIN}",
            ) from error

    def hopeless(self, error: JudgeError) -> UserError | None:
        """What to raise where the first request shows that no other will do better."""
        if self.requests:
            return None
        if isinstance(error, RefusedError) and self._of_the_setup(error):
            return UserError(f"The judge at {self.endpoint.url} refuses: {error}.", self._mend(error.status))
        if isinstance(error, PassingError) and not error.connected:
            return MissingError(f"No judge answers at {self.endpoint.url}.", f"Start it, or mend --judge-url. {_AGAIN}")
        return None

    def _of_the_setup(self, error: RefusedError) -> bool:
        """A judge that has answered before may have refused this one image."""
        return error.status in OF_THE_SETUP or not self.known

    def _mend(self, status: int) -> str:
        names = " or ".join(KEYS)
        if status in (401, 402, 403):
            return f"Mend the key in {names}." if self.endpoint.key else f"It may want a key: set {names}."
        fix = f"Mend --judge-url, or --judge-model {self.endpoint.model}"
        if status in (404, 405):
            return f"{fix}; its models: curl {self.endpoint.url.replace('/chat/completions', '/models')}"
        return f"{fix}: it has to be a model that takes images."
