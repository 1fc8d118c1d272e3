"""One POST to where a stranger has said: to the address that was judged, and never further."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme

from tests.support.receiver import Reply, receiving
from workers.core.addresses import Address, BadTarget, Rules, networks
from workers.core.webhooks import Answered
from workers.transport.outward import Names as SystemNames
from workers.transport.outward import NoSuchName, Outward

pytestmark = pytest.mark.integration
HERE = Rules(http=True, private=networks("127.0.0.1"))
NAME = "hooks.example.com"


class Names:
    """Answers with these addresses, one list after the other, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers, self.asked = list(answers), list[str]()

    async def __call__(self, host: str, _: int) -> list[Address]:
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [ip_address(each) for each in answer]


async def nobody(_: str, __: int) -> list[Address]:
    raise NoSuchName(for_good=True)


async def silence(_: str, __: int) -> list[Address]:
    raise NoSuchName(for_good=False)


def post(outward: Outward, *urls: str) -> list[Answered]:
    async def one_after_the_other() -> list[Answered]:
        return [await outward.post(url, {"webhook-id": "evt_1"}, b"{}") for url in urls]

    return asyncio.run(one_after_the_other())


def outward(
    lookup: Names, rules: Rules = HERE, *, deadline_s: float = 5.0, ca: Path | None = None
) -> Outward:
    return Outward(rules, deadline_s=deadline_s, lookup=lookup, ca_file=ca)


def test_the_judged_address_is_called_by_the_name() -> None:
    with receiving() as receiver:
        receiver.replies = [Reply(204)]
        names = Names(["127.0.0.1"])
        (answered,) = post(outward(names), f"http://{NAME.upper()}.:{receiver.port}/a?b=c")
        (got,) = receiver.got
    assert answered.delivered and answered.problem is None
    assert (names.asked, got.path, got.body) == ([NAME], "/a?b=c", b"{}")
    assert got.headers["host"] == f"{NAME}:{receiver.port}"
    assert got.headers["webhook-id"] == "evt_1" and got.headers["content-type"] == "application/json"


def test_a_name_that_turns_private_is_refused_at_the_next_attempt() -> None:
    with receiving() as receiver:
        names = Names(["127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["::ffff:10.0.0.1"], ["127.0.0.1"])
        url = f"http://{NAME}:{receiver.port}/"
        first, second, third, last = post(outward(names), url, url, url, url)
        assert len(receiver.got) == 2
    assert first.delivered and last.delivered
    for refused in (second, third):
        assert refused.status is None
        assert refused.problem == "not sent: the URL leads to an address that is not public"


def test_the_address_itself_is_judged_at_every_attempt() -> None:
    with receiving() as receiver:
        (answered,) = post(Outward(Rules(http=True), deadline_s=5, lookup=Names([])), receiver.url)
        assert receiver.got == []
    assert answered.error is not None and "not public" in answered.error


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiving() as receiver:
        assert post(outward(Names([])), receiver.url)[0].delivered


def test_a_proxy_of_the_setting_is_asked_by_name() -> None:
    with receiving() as proxy:
        away = Outward(HERE, deadline_s=5, lookup=nobody, proxy=f"http://me:word@127.0.0.1:{proxy.port}")
        (answered,) = post(away, f"http://{NAME}:8080/x")
        (got,) = proxy.got
    assert answered.delivered
    assert got.path == f"http://{NAME}:8080/x" and got.headers["proxy-authorization"].startswith("Basic ")


def test_a_redirect_is_not_followed() -> None:
    with receiving() as other, receiving() as receiver:
        receiver.replies = [Reply(307, headers=(("location", other.url),))]
        (answered,) = post(outward(Names([])), receiver.url)
        assert other.got == []
    assert (answered.status, answered.delivered) == (307, False)
    assert answered.problem is not None and "redirects are not followed" in answered.problem


def test_the_first_kilobyte_of_an_answer_is_read() -> None:
    with receiving() as receiver:
        receiver.replies = [Reply(503, b"x" * 100_000, (("retry-after", "17"),))]
        (answered,) = post(outward(Names([])), receiver.url)
    assert (answered.answer, answered.status, answered.retry_after_s) == (b"x" * 1024, 503, 17.0)


def test_one_who_says_nothing_is_left_in_time() -> None:
    end = threading.Event()
    with receiving() as receiver:
        receiver.replies = [Reply(after=end)]
        (answered,) = post(outward(Names([]), deadline_s=0.1), receiver.url)
        end.set()
    assert answered.error == "no answer within 0.1 s" and 90 <= answered.took_ms < 2000


def test_one_who_is_not_there_is_told_as_such() -> None:
    with receiving() as receiver:
        gone = receiver.url
    (answered,) = post(outward(Names([])), gone)
    assert answered.error == "cannot connect"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(NAME, key_type=trustme.KeyType.ECDSA).configure_cert(context)
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return context, path


def test_the_certificate_is_held_against_the_name(authority: tuple[ssl.SSLContext, Path]) -> None:
    context, ca = authority
    with receiving(context) as receiver:
        way = outward(Names(["127.0.0.1"]), ca=ca)
        right, wrong = post(way, *(f"https://{n}:{receiver.port}/" for n in (NAME, "other.example.com")))
        (untrusted,) = post(outward(Names(["127.0.0.1"])), f"https://{NAME}:{receiver.port}/")
        assert len(receiver.got) == 1
    assert right.delivered
    assert wrong.error is not None and "other.example.com" in wrong.error
    assert untrusted.error is not None and untrusted.error.startswith("TLS: ")


def test_tls_that_breaks_behind_the_handshake_is_told_as_such(authority: tuple[ssl.SSLContext, Path]) -> None:
    context, ca = authority

    def forge(listening: socket.socket) -> None:
        plain, _ = listening.accept()
        with context.wrap_socket(plain, server_side=True) as secured:
            secured.recv(65_536)
            with socket.socket(fileno=secured.detach()) as bare:
                bare.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)  # a record that nobody has encrypted
                bare.shutdown(socket.SHUT_WR)
                while bare.recv(65_536):  # left unread, the rest of the request would cut the connection off
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        forger = threading.Thread(target=forge, args=(listening,), daemon=True)
        forger.start()
        url = f"https://{NAME}:{listening.getsockname()[1]}/"
        (answered,) = post(outward(Names(["127.0.0.1"]), ca=ca), url)
        forger.join(5)
    assert answered.error == "TLS: no agreement"


def check(way: Outward, url: str) -> None:
    asyncio.run(way.check(url))


def test_a_url_is_checked_when_it_is_registered() -> None:
    public, private = Names(["8.8.8.8"]), Names(["8.8.8.8", "fd00::1"])
    check(Outward(Rules(), deadline_s=5, lookup=public), f"https://{NAME}/")
    for way in (
        Outward(Rules(), deadline_s=5, lookup=private),
        Outward(Rules(), deadline_s=5, lookup=nobody),
    ):
        with pytest.raises(BadTarget):
            check(way, f"https://{NAME}/")
    # A name server that says nothing now may say something when it matters.
    check(Outward(Rules(), deadline_s=5, lookup=silence), f"https://{NAME}/")


def test_registering_names_that_nobody_answers_for_leaves_deliveries_their_lookups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # given name servers that say nothing, asked by as many checks as there is room for
    silent = threading.Event()

    def answers(host: str, port: int, **_: object) -> list[object]:
        if host.startswith("silent"):
            silent.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    sending, checking = SystemNames(1), SystemNames(1)
    way = Outward(HERE, deadline_s=5, lookup=sending, check_lookup=checking)

    async def while_they_are_silent(port: int) -> Answered:
        checks = [asyncio.create_task(way.check(f"http://silent{n}.example.com:{port}/")) for n in range(3)]
        came = await way.post(f"http://{NAME}:{port}/", {}, b"{}")
        assert checking.busy == 1 and sending.busy == 0
        silent.set()
        await asyncio.gather(*checks)
        return came

    with receiving() as receiver:
        assert asyncio.run(while_they_are_silent(receiver.port)).delivered
    for names in (sending, checking):
        names.close()
