"""Soft tokens with a model card, to the Hugging Face hub. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from agsm_bench.errors import MissingError, UserError
from agsm_bench.report.model_card import model_card
from agsm_bench.tokens.header import TOKENS_FILE, read_verified

CARD_FILE = "README.md"


def bundle(tokens: Path, repo: str, licence: str | None, results: Sequence[Path]) -> dict[str, bytes]:
    """The files that go to the hub, by name.

    Args:
        tokens: file or folder of soft tokens.
        repo: `USER/NAME`.
        licence: for the card; None: it says none.
        results: run folders whose numbers go on the card.

    Raises:
        UserError: `repo` is no name of a repository, or a run is of other tokens.
        MissingError: tokens or a run's summary are absent or damaged.
    """
    check_repo(repo)
    header, data = read_verified(tokens)
    return {CARD_FILE: model_card(header, repo, licence, results).encode(), TOKENS_FILE: data}


def check_repo(repo: str) -> None:
    """Raises UserError for what is no `USER/NAME`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
        if repo.count("/") != 1:
            raise HFValidationError("it has no user or organisation")
    except HFValidationError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise UserError(f"'{repo}' is no repository of the hub: {reason}.", "Use USER/NAME.") from error


def push(files: Mapping[str, bytes], repo: str, private: bool) -> str:
    """Makes the repository if it is not there, and uploads the files in one commit; the commit's address.

    Raises:
        MissingError: there is no login, no network, or no right to write there.
        UserError: it is to be private and exists as a public one.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise MissingError("There is no login to the Hugging Face hub.", "Log in: hf auth login")
    api = HfApi()
    with _reaching_the_hub(repo):
        api.create_repo(repo, private=private or None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise UserError(f"{repo} exists and is public.", "Make it private in its settings, or use another name.")
        operations = [CommitOperationAdd(name, data) for name, data in files.items()]
        return api.create_commit(repo, operations, commit_message="Soft tokens by agsm-bench").commit_url


@contextmanager
def _reaching_the_hub(repo: str) -> Iterator[None]:
    # of whichever HTTP library the hub's client is built on
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    again = "Then run the same command again."
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise MissingError("HF_HUB_OFFLINE is set.", f"Unset it: unset HF_HUB_OFFLINE. {again}") from error
    except HfHubHTTPError as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        fix = f"Log in with a token that may write to {repo}: hf auth login. {again}"
        raise MissingError(f"The hub refuses ({reason}).", fix) from error
    except HTTPError as error:
        raise MissingError(f"The hub cannot be reached ({error}).", f"Mend the network. {again}") from error
