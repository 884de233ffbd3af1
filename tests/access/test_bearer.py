"""Access tokens: what is one, and every way to pass for one that is known (RFC 8725, RFC 9068)."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import warnings
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from caretrail.access import bearer, jwks
from caretrail.access.bearer import Issuer, JwtVerifier
from caretrail.access.decision import Gate
from caretrail.access.introspection import Endpoint, Introspection
from caretrail.access.jwks import HeldKeys, RemoteKeys
from caretrail.errors import ConfigurationError, UnauthenticatedError, UnavailableError
from caretrail.limits import (
    CREDENTIALS_REMEMBERED,
    ISSUER_BYTES_MAX,
    ISSUER_KEYS_MAX,
    JWKS_SECONDS_BETWEEN,
    JWKS_SECONDS_KEPT,
    JWKS_SECONDS_STALE,
    TOKEN_SECONDS_MAX,
)
from tests.access.guarded import AUDIENCE, CLAIMS, ISSUER, KEY, claims, gate, signed, token_of
from tests.api.arr import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SMALL = RSAKey.generate_key(1024, {"kid": "small"})


def public(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


def verifier(*keys: Any, **others: Any) -> JwtVerifier:
    held = HeldKeys(lambda: public(*(keys or (KEY,))))
    return JwtVerifier([Issuer(ISSUER, (AUDIENCE,), held, **others)])


def verify(one: Any, token: str) -> Any:
    return asyncio.run(one.verify(token, now=time.time()))


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_token_of_the_issuer_is_known() -> None:
    found = verify(verifier(), signed(claims(sub="ann")))
    assert found.claims["sub"] == "ann"
    assert found.expires > time.time()


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [("RS256", RSA), ("PS256", RSA), ("ES256", EC), ("Ed25519", KEY), ("EdDSA", KEY)],
)
@pytest.mark.filterwarnings("ignore:EdDSA")
def test_each_algorithm_of_the_list_is_taken(algorithm: str, key: Any) -> None:
    token = signed(claims(sub="a"), key=key, alg=algorithm, kid=key.kid)
    assert verify(verifier(KEY, RSA, EC), token).claims["sub"] == "a"
    assert algorithm in bearer.ALGORITHMS


def forged_none() -> str:
    return f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': 'one'})}.{part(claims(sub='x'))}."


def forged_hmac() -> str:
    """Take the public key for a secret (CVE-2015-9235)."""
    secret = OctKey.import_key(json.dumps(KEY.as_dict(private=False)))
    header = {"alg": "HS256", "typ": "at+jwt", "kid": "one"}
    return jwt.encode(header, claims(sub="x"), secret, algorithms=["HS256"])


def forged_embedded(name: str) -> Callable[[], str]:
    """Bring a key along."""

    def forged() -> str:
        other = OKPKey.generate_key("Ed25519")
        value: Any = other.as_dict(private=False) if name == "jwk" else "https://evil.example/k"
        header = {"alg": "Ed25519", "typ": "at+jwt", "kid": "one", name: value}
        raw = f"{part(header)}.{part(claims(sub='x'))}"
        private = other.private_key
        assert isinstance(private, Ed25519PrivateKey)
        return f"{raw}.{part(private.sign(raw.encode()))}"

    return forged


def tampered() -> str:
    head, _, tail = signed(claims(sub="x")).split(".")
    return f"{head}.{part(claims(sub='admin'))}.{tail}"


ABUSES: dict[str, Callable[[], str]] = {
    "alg none": forged_none,
    "alg none with a signature": lambda: forged_none() + signed(claims()).split(".")[2],
    "public key as a secret": forged_hmac,
    "embedded key": forged_embedded("jwk"),
    "a key elsewhere": forged_embedded("jku"),
    "changed claims": tampered,
    "an algorithm that the key is not of": lambda: signed(claims(sub="x"), key=EC, alg="ES256"),
    "another's key": lambda: signed(claims(sub="x"), key=OKPKey.generate_key("Ed25519")),
    "an unknown key id": lambda: signed(claims(sub="x"), kid="two"),
    "an id token": lambda: signed(claims(sub="x"), typ="JWT"),
    "no type": lambda: signed(claims(sub="x"), typ=None),
    "another audience": lambda: signed(claims(sub="x", aud="https://other.example/fhir")),
    "no audience": lambda: signed(claims(sub="x", aud=None)),
    "an odd audience": lambda: signed(claims(sub="x", aud=[{"x": AUDIENCE}, 5])),
    "a longer audience": lambda: signed(claims(sub="x", aud=AUDIENCE + "/AuditEvent")),
    "expired": lambda: signed(claims(sub="x", exp=int(time.time()) - 100)),
    "no end": lambda: signed(claims(sub="x", exp=None)),
    "an end for years": lambda: signed(claims(sub="x", exp=int(time.time()) + TOKEN_SECONDS_MAX + 100)),
    "an end that is no number": lambda: signed(claims(sub="x", exp="2030")),
    "an end that is true": lambda: signed(claims(sub="x", exp=True)),
    "an end that is infinite": lambda: signed(claims(sub="x", exp=1e300)),
    "not yet": lambda: signed(claims(sub="x", nbf=int(time.time()) + 600)),
    "issued tomorrow": lambda: signed(claims(sub="x", iat=int(time.time()) + 86_400)),
}  # fmt: skip


@pytest.mark.parametrize("abuse", ABUSES)
def test_a_token_that_is_none_is_refused(abuse: str) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        verify(verifier(KEY, EC), ABUSES[abuse]())
    assert "x" not in str(caught.value).split()


def test_a_header_that_has_to_be_understood_is_refused() -> None:
    header = {"alg": "Ed25519", "typ": "at+jwt", "kid": "one", "crit": ["b64"], "b64": True}
    with pytest.raises(UnauthenticatedError):
        verify(verifier(), f"{part(header)}.{part(claims())}.{part(b'x')}")


@pytest.mark.parametrize(
    "text",
    ["", "opaque", "a.b", "a.b.c", f"{part([1])}.{part({})}.x", f"{part({})}.{part(b'{')}.x",
     f"{part(b'{}')}.{part(b'[' * 100_000)}.x", "ü.ü.ü", "a" * 50_000, signed(claims(iss="https://other.test"))],
)  # fmt: skip
def test_what_is_no_token_of_these_issuers_is_left_to_others(text: str) -> None:
    assert verify(verifier(), text) is None


def test_clocks_may_differ_by_a_minute() -> None:
    now = int(time.time())
    for times in ({"exp": now - 30}, {"iat": now + 30}, {"nbf": now + 30}):
        assert verify(verifier(), signed(claims(sub="a") | times))


def test_a_weak_key_verifies_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        token = signed(claims(sub="a"), key=SMALL, alg="RS256", kid="small")
    with pytest.raises(UnauthenticatedError):
        verify(verifier(SMALL), token)


def test_a_key_says_itself_which_algorithm_it_is_for() -> None:
    bound = RSAKey.import_key(RSA.as_dict(private=True) | {"alg": "PS256"})
    assert verify(verifier(bound), signed(claims(), key=RSA, alg="PS256", kid="rsa"))
    with pytest.raises(UnauthenticatedError):
        verify(verifier(bound), signed(claims(), key=RSA, alg="RS256", kid="rsa"))


def test_keys_that_do_not_sign_and_secrets_are_not_keys() -> None:
    rows = [
        KEY.as_dict(private=False) | {"use": "enc"},
        {"kty": "oct", "k": part(b"s" * 32), "kid": "one"},
        {"kty": "OKP", "crv": "Ed25519", "x": "!", "kid": "one"},
        "key",
    ]
    one = JwtVerifier([Issuer(ISSUER, (AUDIENCE,), HeldKeys(lambda: {"keys": rows}))])
    with pytest.raises(UnauthenticatedError):
        verify(one, signed(claims()))


def test_without_a_key_id_the_only_key_is_meant() -> None:
    token = signed(claims(sub="a"), kid=None)
    assert verify(verifier(KEY), token)
    with pytest.raises(UnauthenticatedError):
        verify(verifier(KEY, EC), token)


def test_claims_are_found_where_an_issuer_has_them() -> None:
    one = verifier(roles="realm_access.roles", organisation="urn:org.id", types=("jwt",), home="")
    content = claims(realm_access={"roles": ["auditor"]}, **{"urn:org.id": "north"})
    found = verify(one, signed(content, typ="JWT")).claims
    assert found["roles"] == ["auditor"]
    assert found["organisation"] == "north"
    assert (
        verify(verifier(home="south"), signed(claims(organisation="*"))).claims["organisation"]
        == "south"
    )
    assert verify(verifier(roles="sub.x"), signed(claims(sub="a"))).claims["roles"] is None


# The gate: what has been seen before, and what has been refused.


def headers(token: str, scheme: str = "Bearer") -> dict[bytes, bytes]:
    return {b"authorization": f"{scheme} {token}".encode("latin-1")}


def test_the_gate_knows_the_folders_token_at_once_and_in_any_spelling() -> None:
    one = Gate("secret", producer="ward", organisation="org-1")
    found = one.known(headers("secret"))
    assert found is not None
    assert (found.producer, found.organisation) == ("ward", "org-1")
    assert one.known(headers("secret", "bEARER")) is None
    assert asyncio.run(one.identify(headers("secret ", "bEARER"))) == found
    assert not one.insecure


@pytest.mark.parametrize("sent", [None, b"", b"Bearer", b"Bearer secre", b"Bearer s\xe9cret", b"Basic secret"])  # fmt: skip
def test_the_gate_keeps_others_out(sent: bytes | None) -> None:
    given = {} if sent is None else {b"authorization": sent}
    with pytest.raises(UnauthenticatedError):
        asyncio.run(Gate("secret").identify(given))


def test_an_open_gate_says_so_and_an_empty_token_is_none() -> None:
    assert Gate(None).insecure
    found = asyncio.run(Gate(None).identify({}))
    assert found.view("read") is not None
    with pytest.raises(ValueError, match="empty"):
        Gate("")


def test_a_verified_token_is_known_until_it_ends() -> None:
    clock = [time.time()]
    one = gate(clock=lambda: clock[0])
    token = token_of("auditor")
    assert one.known(headers(token)) is None
    found = asyncio.run(one.identify(headers(token)))
    assert one.known(headers(token)) is found
    assert token.encode() not in str(one._remembered).encode()
    clock[0] += 700
    assert one.known(headers(token)) is None
    with pytest.raises(UnauthenticatedError):
        asyncio.run(one.identify(headers(token)))
    assert one.known(headers(TOKEN)) is not None
    assert one.known({}) is None


def test_a_token_that_was_revoked_is_refused_though_it_was_known() -> None:
    revoked: set[str] = set()
    one = gate(is_revoked=revoked.__contains__)
    token = token_of("auditor")
    asyncio.run(one.identify(headers(token)))
    assert one.known(headers(token)) is not None
    revoked.add("id-1")
    assert one.known(headers(token)) is None
    with pytest.raises(UnauthenticatedError):
        asyncio.run(one.identify(headers(token)))


class Counting:
    """Knows nobody, and counts who asks."""

    def __init__(self) -> None:
        self.asked = 0

    async def verify(self, token: str, *, now: float) -> None:
        self.asked += 1
        if token == "down":
            raise UnavailableError("down")
        raise UnauthenticatedError("no")

    async def close(self) -> None:
        self.asked = -1


def test_what_was_refused_is_refused_for_a_while_without_a_look() -> None:
    clock, counting = [1000.0], Counting()
    one = Gate(TOKEN, verifiers=[counting], clock=lambda: clock[0])

    def ask(token: str) -> None:
        with pytest.raises((UnauthenticatedError, UnavailableError)):
            asyncio.run(one.identify(headers(token)))

    for _ in range(3):
        ask("bad")
    assert counting.asked == 1
    clock[0] += 11
    ask("bad")
    assert counting.asked == 2
    for _ in range(3):
        ask("down")
    assert counting.asked == 5
    asyncio.run(one.close())
    assert counting.asked == -1


def test_what_is_remembered_is_bounded() -> None:
    one = Gate(TOKEN, verifiers=[Counting()])
    for number in range(CREDENTIALS_REMEMBERED + 5):
        with pytest.raises(UnauthenticatedError):
            _run(one.identify(headers(f"bad-{number}")))
    assert len(one._refused) == CREDENTIALS_REMEMBERED


def _run(doing: Any) -> Any:
    """Run what waits for nothing."""
    try:
        doing.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


# Keys of an issuer elsewhere: discovery, rotation, floods.


class Site:
    """An issuer's HTTP server, as far as its answers go."""

    def __init__(self, *keys: Any) -> None:
        self.keys: tuple[Any, ...] = keys or (KEY,)
        self.issuer = ISSUER
        self.jwks = "https://auth.test/keys"
        self.status = 200
        self.body: bytes | None = None
        self.asked: list[str] = []
        self.clock = 0.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.status != 200:
            return httpx.Response(self.status, headers={"location": "https://evil.example/"})
        if self.body is not None:
            return httpx.Response(200, content=self.body)
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(404)
        if ".well-known" in request.url.path:
            return httpx.Response(200, json={"issuer": self.issuer, "jwks_uri": self.jwks})
        return httpx.Response(200, json=public(*self.keys))

    def remote(self, **others: Any) -> RemoteKeys:
        transport = httpx.MockTransport(self.answer)
        return RemoteKeys(ISSUER, clock=lambda: self.clock, transport=transport, **others)


def test_keys_are_discovered_once_and_kept() -> None:
    site = Site()

    async def check() -> None:
        keys = site.remote()
        for _ in range(3):
            found = await keys.find("one")
            assert found is not None
        assert site.asked[-1] == "/keys"
        assert len(site.asked) == 3
        site.clock = JWKS_SECONDS_KEPT + 1
        await keys.find("one")
        assert site.asked.count("/keys") == 2
        await keys.close()

    asyncio.run(check())


def test_a_key_that_is_new_is_fetched_and_one_that_is_gone_is_no_key() -> None:
    site, other = Site(), OKPKey.generate_key("Ed25519", {"kid": "two"})

    async def check() -> None:
        keys = site.remote(address=site.jwks)
        await keys.find("one")
        site.keys, site.clock = (other,), JWKS_SECONDS_BETWEEN + 1.0
        assert await keys.find("two") is not None
        assert await keys.find("one") is None

    asyncio.run(check())


def test_a_flood_of_unknown_key_ids_asks_the_issuer_once() -> None:
    site = Site()

    async def check() -> None:
        keys = site.remote(address=site.jwks)
        found = await asyncio.gather(*(keys.find(f"made-up-{n}") for n in range(200)))
        assert not any(found)
        assert len(site.asked) == 1
        site.clock = JWKS_SECONDS_BETWEEN + 1.0
        await asyncio.gather(*(keys.find(f"made-up-{n}") for n in range(200)))
        assert len(site.asked) == 2

    asyncio.run(check())


@pytest.mark.parametrize("what", ["down", "redirect", "no json", "too large", "list", "other issuer", "unsafe keys", "no keys", "many keys"])  # fmt: skip
def test_an_issuer_that_does_not_answer_well_is_an_outage_and_its_old_keys_stay(what: str) -> None:
    site = Site()

    def break_it() -> None:
        match what:
            case "down":
                site.status = 503
            case "redirect":
                site.status = 302
            case "no json":
                site.body = b"<html>"
            case "too large":
                site.body = b" " * (ISSUER_BYTES_MAX + 1)
            case "list":
                site.body = b"[]"
            case "other issuer":
                site.issuer = "https://evil.example"
            case "unsafe keys":
                site.jwks = "http://169.254.169.254/keys"
            case "no keys":
                site.body = b"{}"
            case _:
                site.body = json.dumps({"issuer": ISSUER, "keys": [{}] * (ISSUER_KEYS_MAX + 1)}).encode()  # fmt: skip

    async def check() -> None:
        keys = site.remote()
        assert await keys.find("one") is not None
        break_it()
        site.clock = JWKS_SECONDS_KEPT + 1.0
        assert await keys.find("one") is not None
        site.clock = JWKS_SECONDS_STALE + 100_000.0
        if what not in ("other issuer", "unsafe keys"):  # The address is known by then.
            with pytest.raises(UnavailableError):
                await keys.find("one")
        fresh = site.remote()
        with pytest.raises(UnavailableError):
            await fresh.find("one")
        assert all("evil" not in path for path in site.asked)

    asyncio.run(check())


@pytest.mark.parametrize("address", ["http://auth.test", "ftp://a", "", "https://", "https://u:p@auth.test", "http://127.0.0.1.evil.example", "http://[::1"])  # fmt: skip
def test_an_unsafe_address_of_an_issuer_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        jwks.require_safe(address)
    for safe in ("https://auth.test/x", "http://127.0.0.1:9", "http://[::1]:9", "http://localhost"):
        jwks.require_safe(safe)


# Opaque tokens.


def introspection(answer: Callable[[httpx.Request], httpx.Response]) -> Introspection:
    issuer = Issuer(ISSUER, (AUDIENCE,), HeldKeys(dict))
    endpoint = Endpoint("https://auth.test/introspect", "log", "s3cret")
    return Introspection(endpoint, issuer, transport=httpx.MockTransport(answer))


def test_an_opaque_token_is_what_its_issuer_says() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        content = {
            "active": True,
            "aud": [AUDIENCE],
            **CLAIMS["auditor"],
            "exp": time.time() + 9999,
        }
        return httpx.Response(200, json=content)

    async def check() -> None:
        one = introspection(answer)
        guard = Gate(TOKEN, verifiers=[one])
        found = await guard.identify(headers("opaque-1"))
        assert found.subject == "ann"
        assert found.view("search-type") is not None
        assert guard.known(headers("opaque-1")) is found
        await guard.close()

    asyncio.run(check())
    (request,) = asked
    assert request.headers["authorization"].startswith("Basic ")
    assert b"token=opaque-1" in request.content
    assert not request.url.query


@pytest.mark.parametrize(
    "content",
    [{"active": False}, {}, {"active": "true", "aud": AUDIENCE}, {"active": True},
     {"active": True, "aud": "https://other.example"}, {"active": True, "aud": AUDIENCE, "exp": 5},
     {"active": True, "aud": AUDIENCE, "exp": "x"}, {"active": True, "aud": AUDIENCE, "iss": "https://other.test"}],
)  # fmt: skip
def test_an_opaque_token_that_is_not_good_here_is_refused(content: Any) -> None:
    one = introspection(lambda _: httpx.Response(200, json=content))
    with pytest.raises(UnauthenticatedError):
        verify(one, "opaque")


def test_an_introspection_that_fails_is_an_outage() -> None:
    with pytest.raises(UnavailableError):
        verify(introspection(lambda _: httpx.Response(500)), "opaque")
    with pytest.raises(UnavailableError):
        verify(introspection(lambda _: httpx.Response(200, content=b"no")), "opaque")
    assert verify(introspection(lambda _: httpx.Response(500)), "x" * 20_000) is None


def test_a_flood_of_opaque_tokens_does_not_become_one_of_questions() -> None:
    waiting, most = [0], [0]

    async def answer(request: httpx.Request) -> httpx.Response:
        waiting[0] += 1
        most[0] = max(most[0], waiting[0])
        await asyncio.sleep(0)
        waiting[0] -= 1
        return httpx.Response(200, json={"active": False})

    async def check() -> None:
        one = introspection(answer)  # type: ignore[arg-type]
        rows = (one.verify(f"opaque-{n}", now=time.time()) for n in range(100))
        found = await asyncio.gather(*rows, return_exceptions=True)
        assert {type(row) for row in found} == {UnauthenticatedError, UnavailableError}

    asyncio.run(check())
    assert most[0] <= 8
