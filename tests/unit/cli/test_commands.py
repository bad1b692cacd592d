"""The commands that talk to a running platform, against the same RPCs answered from memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from causeway.gateway.v1 import chat_pb2
from causeway.retrieval.v1 import search_service_pb2
from cli import main as cli
from cli import main as command
from cli.client import PLATFORM
from fakes.front_door import FrontDoor, answer, refusal, serving, text
from mesh.local import lock, ports, procfs, state
from mesh.local.issuer import Issuer
from mesh.local.layout import Layout
from mesh.local.state import PlatformState, ProcessStatus
from mesh.pki.gateways import GatewayCertificates

WITH = chat_pb2.Citation(
    number=2, document_id="d2", title="with", text="The with\nstatement wraps a block.", score=0.5
)
ROOT = Path(command.__file__).parents[1]


@pytest.fixture
def front() -> FrontDoor:
    # The other RPCs of these services answer UNIMPLEMENTED, as the generated base class has it.
    return FrontDoor()  # type: ignore[abstract]


@pytest.fixture
def home(tmp_path: Path, front: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder whose supervisor is this test, and whose services are `front`."""
    layout = Layout(tmp_path / "home")
    layout.create()
    Issuer(layout).publish()
    monkeypatch.setenv("CAUSEWAY_HOME", str(layout.home))
    with serving(front) as port, lock.held(layout.lock):
        ports.save(layout.ports, {"gateway": port, "session": port, "retrieval": port})
        account = PlatformState(
            phase="running",
            supervisor=procfs.identify(os.getpid()),
            boot=procfs.boot_id(),
            processes=[ProcessStatus(name="gateway", state="ready", ready=True)],
        )
        state.save(layout.state, account)
        yield layout.home


@contextmanager
def behind_tls(home: Path, front: FrontDoor, host: str) -> Iterator[None]:
    """A platform with a mesh, whose front has a certificate for `host` and passes everything to `front`."""
    layout = Layout(home)
    certificates = GatewayCertificates(layout.pki, "us-west-2")
    certificates.ensure("front", [host])
    made = certificates.read("front")
    credentials = grpc.ssl_server_credentials([(made.key.reveal().encode(), made.chain)])
    account = state.load(layout.state)
    assert account is not None
    with serving(front, credentials) as port:
        account.front = f"127.0.0.1:{port}"
        account.processes = [ProcessStatus(name="front", state="ready", ready=True)]
        state.save(layout.state, account)
        yield


def test_with_a_mesh_every_command_goes_through_the_front_over_tls(
    home: Path, front: FrontDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front.events = answer("It wraps a block.")
    (tmp_path / "a.txt").write_text("a")
    with behind_tls(home, front, PLATFORM):
        assert cli.main(["ask", "q"]) == 0
        assert cli.main(["search", "q"]) == 0
        assert cli.main(["ingest", str(tmp_path / "a.txt")]) == 0
    assert "It wraps a block." in capsys.readouterr().out


def test_a_front_that_is_not_the_platforms_is_not_talked_to(
    home: Path, front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    with behind_tls(home, front, "elsewhere.example"):
        assert cli.main(["ask", "q"]) == 3
    assert front.chats == []
    assert "does not answer" in capsys.readouterr().err


def test_a_platform_without_its_root_certificate_says_so(
    home: Path, front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    with behind_tls(home, front, PLATFORM):
        Layout(home).ca.unlink()
        assert cli.main(["ask", "q"]) == 1
    assert "web.pem" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_ask_prints_the_answer_then_its_sources(front: FrontDoor, capsys: pytest.CaptureFixture[str]) -> None:
    front.events = answer("It wraps ", "a block [2].", citations=(WITH,))
    assert cli.main(["ask", "What does with do?"]) == 0
    out = capsys.readouterr()
    assert out.out == "It wraps a block [2].\n\n[2] with: The with statement wraps a block.\n"
    assert "5 tokens" in out.err
    assert "\x1b" not in out.out + out.err
    assert front.chats[0].text == "What does with do?"


@pytest.mark.usefixtures("home")
def test_ask_json_prints_one_object_of_the_agreed_shape(
    front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    front.events = answer("It wraps a block [2].", citations=(WITH,))
    assert cli.main(["ask", "--json", "q"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.keys() == {"answer", "citations", "usage", "region", "timing"}
    assert document["answer"] == "It wraps a block [2]."
    assert {"document", "title", "text", "score"} <= document["citations"][0].keys()
    assert document["usage"] == {"prompt_tokens": 7, "completion_tokens": 5, "cached_tokens": 2}
    assert document["timing"] == {"retrieval_ms": 1.5, "first_text_ms": 20.0, "total_ms": 90.0}
    assert document["region"] == "us-west-2"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "events, complaint",
    [
        (answer("one")[:-1], "cut off"),
        ([*answer("one")[:2], text(4, "two")], "text was lost"),
        ([*answer("one")[:2], text(0, "one")], "text was lost"),
        ([], "cut off"),
    ],
)
def test_an_answer_that_is_not_whole_is_a_failure(
    front: FrontDoor, capsys: pytest.CaptureFixture[str], events: list[object], complaint: str
) -> None:
    front.events = events  # type: ignore[assignment]
    assert cli.main(["ask", "q"]) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_a_failure_in_the_middle_of_an_answer_is_told(
    front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    front.events, front.abort_chat = answer("half ")[:2], grpc.StatusCode.RESOURCE_EXHAUSTED
    assert cli.main(["ask", "q"]) == 1
    out = capsys.readouterr()
    assert out.out == "half \n"
    assert "the model went away" in out.err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "message, told",
    [
        ("text: must not be empty", "causeway: text: must not be empty\n"),
        ("the request is invalid", "causeway: the request is invalid; text: must not be empty\n"),
    ],
)
def test_a_refused_request_names_the_field_once(
    front: FrontDoor, capsys: pytest.CaptureFixture[str], message: str, told: str
) -> None:
    front.refuse_chat = refusal(grpc.StatusCode.INVALID_ARGUMENT, message, "text", "must not be empty")
    assert cli.main(["ask", ""]) == 1
    assert capsys.readouterr().err == told


@pytest.mark.usefixtures("home")
def test_nobody_behind_the_port_is_told_with_exit_code_3(
    front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    front.unavailable = 1000
    assert cli.main(["ask", "q"]) == 3
    assert "causeway status" in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_search_json_prints_one_object_of_the_agreed_shape(
    front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    front.results = [search_service_pb2.SearchResult(document_id="d", title="with", text="t", score=0.25)] * 7
    assert cli.main(["search", "--json", "-k", "2", "with"]) == 0
    hit = {"document": "d", "title": "with", "text": "t", "score": 0.25}
    assert json.loads(capsys.readouterr().out) == {"results": [hit, hit]}


@pytest.mark.usefixtures("home")
def test_a_search_without_results_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", "with"]) == 0
    assert "causeway ingest" in capsys.readouterr().out


@pytest.mark.usefixtures("home")
def test_ingesting_the_language_reference_twice_stores_it_once(
    front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    from pydoc_data.topics import topics

    assert cli.main(["ingest", "--json", "pydoc:"]) == 0
    assert cli.main(["ingest", "pydoc:"]) == 0
    assert {header.title for header, _ in front.documents.values()} == set(topics)
    assert len(front.documents) == len(topics)
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["documents"], first["indexed"], first["failed"]) == (len(topics), len(topics), [])


@pytest.mark.usefixtures("home")
def test_a_refused_document_is_named_and_the_others_are_kept(
    front: FrontDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.md").write_text("# good")
    (tmp_path / "bad.pdf").write_bytes(b"not a PDF")
    front.refuse["bad.pdf"] = "the bytes are not a PDF"
    assert cli.main(["ingest", str(tmp_path / "good.md"), str(tmp_path / "bad.pdf")]) == 1
    out = capsys.readouterr().out
    assert "1 of 2 documents searchable" in out
    assert "bad.pdf: the bytes are not a PDF" in out


@pytest.mark.usefixtures("home")
def test_a_large_file_is_uploaded_in_pieces_and_arrives_whole(front: FrontDoor, tmp_path: Path) -> None:
    data = os.urandom(5 * 1024 * 1024 + 17)
    (tmp_path / "large.txt").write_bytes(data)
    assert cli.main(["ingest", str(tmp_path / "large.txt")]) == 0
    assert [content for _, content in front.documents.values()] == [data]


@pytest.mark.usefixtures("home")
def test_ingestion_goes_on_when_the_platform_comes_back(front: FrontDoor, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    front.unavailable = 2
    assert cli.main(["ingest", str(tmp_path / "a.txt")]) == 0
    assert len(front.documents) == 1


@pytest.mark.usefixtures("home")
def test_ingestion_comes_back_when_it_is_told_to(
    front: FrontDoor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    soon = refusal(exhausted, "too much is being uploaded", retry_after=timedelta(seconds=0.2))
    (tmp_path / "a.txt").write_text("a")
    front.refuse_documents = [soon, soon]
    assert cli.main(["ingest", str(tmp_path / "a.txt")]) == 0
    assert len(front.documents) == 1
    (tmp_path / "b.txt").write_text("b")
    front.refuse_documents = [refusal(exhausted, "the quota is used up", retry_after=timedelta(hours=1))]
    assert cli.main(["ingest", str(tmp_path / "b.txt")]) == 1
    assert "b.txt: the quota is used up" in capsys.readouterr().out


@pytest.mark.usefixtures("home")
def test_chat_keeps_one_conversation_until_asked_for_a_new_one(
    front: FrontDoor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    front.events = answer("yes [2]", citations=(WITH,))
    lines = iter(["first", "second", "", "/sources", "/new", "third", "/nonsense", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    assert cli.main(["chat"]) == 0
    first, second, third = (request.conversation_id for request in front.chats)
    assert first == second != third
    assert "[2] with:" in capsys.readouterr().out


def test_interrupting_an_answer_cancels_it(home: Path, front: FrontDoor) -> None:
    front.events, front.hang_chat = answer("begun")[:2], True
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "ask", "q"],
        env={**os.environ, "CAUSEWAY_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(5) == b"begun"
        child.send_signal(signal.SIGINT)
        assert front.cancelled.wait(5)
        assert child.wait(10) == 130


@pytest.mark.usefixtures("home")
def test_calls_carry_a_token_of_the_tenant(front: FrontDoor) -> None:
    front.events = answer("x")
    cli.main(["ask", "--tenant", "acme", "--subject", "ann", "q"])
    scheme, token = front.tokens[0].split(" ")
    payload = token.split(".")[1]
    import base64

    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert scheme == "Bearer"
    assert (claims["tenant"], claims["sub"], claims["roles"]) == ("acme", "ann", ["reader"])


@pytest.mark.usefixtures("home")
def test_token_prints_a_token_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "--role", "admin", "--role", "editor", "--ttl", "5m"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", [["--ttl", "soon"], ["--ttl", "0s"], ["--tenant", ""], ["--role", "king"]])
def test_a_wrong_token_request_is_a_usage_error(words: list[str]) -> None:
    try:
        code = cli.main(["token", *words])
    except SystemExit as error:
        code = int(str(error.code))
    assert code == 2


@pytest.mark.usefixtures("home")
def test_the_demo_ends_with_a_cited_answer_and_says_how_to_go_on(
    front: FrontDoor, capsys: pytest.CaptureFixture[str]
) -> None:
    front.events = answer("It wraps a block [2].", citations=(WITH,))
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "It wraps a block [2].\n\n[2] with:" in out
    assert out.endswith("make down\n")
    assert len(front.documents) > 70


def test_an_interrupted_demo_does_not_stop_a_platform_it_did_not_start(home: Path, front: FrontDoor) -> None:
    front.events, front.hang_chat = answer("begun")[:2], True
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo"],
        env={**os.environ, "CAUSEWAY_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        while "Asking" not in child.stdout.readline():
            pass
        assert child.stdout.read(5) == "begun"
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 130
    assert lock.is_held(Layout(home).lock)


def test_status_json_of_a_ready_platform(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert home.is_dir()
    assert cli.main(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ready"], document["processes"][0]["name"]) == (True, "gateway")


def test_commands_stop_when_their_reader_does(home: Path) -> None:
    layout = Layout(home)
    layout.log("gateway").write_text("line\n" * 100_000)
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "logs", "gateway", "-n", "100000"],
        env={**os.environ, "CAUSEWAY_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.wait(10) == 0
        assert child.stderr.read() == b""


def test_logs_follow_what_is_written_and_survive_a_rotation(home: Path) -> None:
    log = Layout(home).log("gateway")
    log.write_text("old\n")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "cli.main", "logs", "gateway", "-f"],
        env={**os.environ, "CAUSEWAY_HOME": str(home)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        guard = threading.Timer(20, child.kill)
        guard.start()
        assert child.stdout is not None
        assert child.stdout.readline() == "old\n"
        with log.open("a") as file:
            file.write("new\n")
        assert child.stdout.readline() == "new\n"
        os.truncate(log, 0)
        with log.open("a") as file:
            file.write("1\n")
        assert child.stdout.readline() == "1\n"
        guard.cancel()
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 130
