"""A file of tokens: who is let in by it, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from reconcile.identity import Caller
from reconcile.runtime.api.http.tokenfile import TokenFileError, read_tokens

LONG = "0123456789abcdef"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens.csv"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_each_line_is_a_caller(tmp_path: Path) -> None:
    """As kube-apiserver reads such a file."""
    text = f'# who, and since when\n{LONG}1,eve,7,"devs, on-call"\n\n{LONG}2,robot,8\n{LONG}3,root,9,system:masters\n'
    assert read_tokens(written(tmp_path, text)) == {
        f"{LONG}1": Caller("eve", ("devs", "on-call"), "7"), f"{LONG}2": Caller("robot", (), "8"),
        f"{LONG}3": Caller("root", ("system:masters",), "9"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{LONG},eve\n", "tokens.csv:1: give token, user, uid and perhaps groups"),
        (f"{LONG},eve,7\n{LONG},,8\n", "tokens.csv:2: give token, user, uid"),
        ("short,eve,7\n", "tokens.csv:1: the token of eve is shorter than 16 characters"),
        (f"{LONG},eve,7\n{LONG},bob,8\n", "tokens.csv:2: the token of bob is eve's already"),
        (f'{LONG},"eve\n', "is no CSV file"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(tmp_path: Path, text: str, says: str) -> None:
    """A line that is read otherwise than it was meant lets in somebody else."""
    with pytest.raises(TokenFileError) as refused:
        read_tokens(written(tmp_path, text))
    assert says in str(refused.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It would be no secret."""
    with pytest.raises(TokenFileError, match="chmod 600"):
        read_tokens(written(tmp_path, f"{LONG},eve,7\n", 0o640))
    with pytest.raises(TokenFileError, match="cannot be read: no such file"):
        read_tokens(tmp_path / "none.csv")


async def test_a_token_of_the_file_lets_its_caller_in(serve: Any) -> None:
    """Beside the owner's token, which stays."""
    async with serve(tokens={LONG: Caller("root2", ("system:masters",))}) as site:
        for token, status in ((LONG, 200), (site.access.token, 200), (LONG + "x", 401)):
            url, headers = f"{site.address.url}/api/v1/namespaces", {"Authorization": f"Bearer {token}"}
            async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=site.access.tls()) as answer:
                assert answer.status == status
