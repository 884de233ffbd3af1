"""Trust policies: what may stand in one, and which cosigned checkpoint it accepts."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail.errors import ConfigurationError, VerificationError
from caretrail.limits import POLICY_BYTES_MAX
from caretrail.tlog.checkpoint import Checkpoint, sign
from caretrail.tlog.cosignature import Cosigner
from caretrail.tlog.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from caretrail.tlog.note import Note, NoteSigner, VerifierKey
from caretrail.tlog.policy import Accepted, Cosigned, Group, Policy

ORIGIN = "example.org/log"
LOG = NoteSigner(ORIGIN, Ed25519PrivateKey(b"L" * 32))
NEXT_LOG = NoteSigner(ORIGIN, Ed25519PrivateKey(b"N" * 32))
OTHER_LOG = NoteSigner("example.org/other", Ed25519PrivateKey(b"O" * 32))
COSIGNERS = [
    Cosigner(f"witness.example/{n}", Ed25519PrivateKey(bytes([n]) * 32)) for n in range(1, 6)
]
QUANTUM = Cosigner("witness.example/q", MLDSA44PrivateKey(b"Q" * 32))
KEYS = [one.key.format() for one in COSIGNERS]
CHECKPOINT = Checkpoint(ORIGIN, 7, b"r" * 32)
TEXT = CHECKPOINT.format()
NOW = 1_700_000_000

WITNESSES = "".join(f"witness W{n} {key}\n" for n, key in enumerate(KEYS, 1))
EXAMPLE = f"""
# Two departments, and one of them has to agree by a majority.
log {LOG.key.format()}\thttps://log.example.org/
\twitness W1 {KEYS[0]}
witness W2 {KEYS[1]}  https://two.example/\t
witness W3 {KEYS[2]}
group X 2 W1 W2 W3
witness W4 {KEYS[3]}
witness W5 {KEYS[4]}
group Y any W4 W5
group X-and-Y all X Y
quorum X-and-Y
"""


def policy(text: str) -> Policy:
    return Policy.parse(text.encode())


def note(*witnesses: int, log: NoteSigner = LOG, time: int = NOW) -> Note:
    checkpoint = CHECKPOINT._replace(origin=log.key.name)
    signed = sign(checkpoint, [log])
    text = checkpoint.format()
    return signed.add([COSIGNERS[n - 1].cosign(text, time=time) for n in witnesses])


def test_a_policy_is_read_as_it_is_written() -> None:
    read = policy(EXAMPLE)
    assert [(one.key, one.url) for one in read.logs] == [(LOG.key, "https://log.example.org/")]
    assert [one.name for one in read.witnesses] == ["W1", "W2", "W3", "W4", "W5"]
    assert read.witnesses[1].url == "https://two.example/"
    assert read.witnesses[2].url is None
    assert read.groups == (
        Group("X", 2, ("W1", "W2", "W3")),
        Group("Y", 1, ("W4", "W5")),
        Group("X-and-Y", 2, ("X", "Y")),
    )
    assert read.quorum == "X-and-Y"


def test_a_quorum_is_what_the_groups_say() -> None:
    read = policy(EXAMPLE)
    for count in range(6):
        for some in combinations(range(1, 6), count):
            enough = len({1, 2, 3} & {*some}) >= 2 and bool({4, 5} & {*some})
            assert read.witnessed_by({f"W{n}" for n in some}) is enough
            if enough:
                accepted = read.accept(note(*some))
                witnesses = tuple(Cosigned(f"W{n}", NOW) for n in some)
                assert accepted == Accepted(CHECKPOINT, (LOG.key,), witnesses)
            else:
                with pytest.raises(VerificationError, match="too few witnesses"):
                    read.accept(note(*some))


@given(witnesses=st.sets(st.sampled_from(range(1, 6))), more=st.sets(st.sampled_from(range(1, 6))))
def test_more_witnesses_never_hurt(witnesses: set[int], more: set[int]) -> None:
    read = policy(EXAMPLE)
    if read.witnessed_by({f"W{n}" for n in witnesses}):
        assert read.witnessed_by({f"W{n}" for n in witnesses | more})


def test_a_quorum_may_be_one_witness_or_none() -> None:
    log = f"log {LOG.key.format()}\n"
    assert policy(log + "quorum none\n").accept(note()).witnesses == ()
    one = policy(log + WITNESSES + "quorum W2\n")
    assert one.accept(note(2)).witnesses == (Cosigned("W2", NOW),)
    with pytest.raises(VerificationError, match="too few"):
        one.accept(note(1, 3))


def test_a_policy_without_the_log_accepts_nothing() -> None:
    for text in ("quorum none\n", f"log {OTHER_LOG.key.format()}\nquorum none\n",
                 f"log {NEXT_LOG.key.format()}\nquorum none\n"):  # fmt: skip
        with pytest.raises(VerificationError):
            policy(text).accept(note())
    # A witness does not stand for the log, though its key is known.
    with pytest.raises(VerificationError, match="origin"):
        policy(EXAMPLE).accept(Note(TEXT, note(1, 2, 4).signatures[1:]))


def test_every_listed_log_and_key_is_accepted_under_its_own_origin() -> None:
    logs = "".join(f"log {one.key.format()}\n" for one in (LOG, NEXT_LOG, OTHER_LOG))
    read = policy(logs + "quorum none\n")
    for log in (LOG, NEXT_LOG, OTHER_LOG):
        assert read.accept(note(log=log)).log_keys == (log.key,)
    both = note().add([NEXT_LOG.sign(TEXT)])
    assert read.accept(both).log_keys == (LOG.key, NEXT_LOG.key)
    with pytest.raises(VerificationError, match="no known key"):
        read.accept(Note(TEXT, (OTHER_LOG.sign(TEXT),)))


def test_a_cosignature_that_does_not_hold_rejects_the_checkpoint() -> None:
    read = policy(EXAMPLE)
    another = CHECKPOINT._replace(size=8).format()
    broken = note(1, 2, 4).add([COSIGNERS[4].cosign(another, time=NOW)])
    with pytest.raises(VerificationError, match="does not hold"):
        read.accept(broken)


def test_a_cosignature_from_the_future_does_not_count() -> None:
    read = policy(EXAMPLE)
    assert read.accept(note(1, 2, 4), not_after=NOW)
    with pytest.raises(VerificationError, match="too few"):
        read.accept(note(1, 2, 4), not_after=NOW - 1)


def test_a_witness_may_have_a_key_against_quantum_computers() -> None:
    text = f"log {LOG.key.format()}\nwitness Q {QUANTUM.key.format()}\nquorum Q\n"
    signed = note().add([QUANTUM.cosign(TEXT, time=NOW)])
    assert policy(text).accept(signed).witnesses == (Cosigned("Q", NOW),)
    with pytest.raises(VerificationError):
        policy(text).accept(note())


def test_names_are_opaque_octets() -> None:
    for first, second in (("K", "\u212a"), ("w", "W"), ("\u00e4", "a\u0308")):
        text = f"witness {first} {KEYS[0]}\nwitness {second} {KEYS[1]}\nquorum {second}\n"
        assert policy(text).witnessed_by({second})
        assert not policy(text).witnessed_by({first})
    data = b"# \xff\xfe\nwitness \xff " + KEYS[0].encode() + b"\nquorum \xff\n"
    assert Policy.parse(data).quorum == b"\xff".decode(errors="surrogateescape")


NOT_A_POINT = VerifierKey(ORIGIN, 1, bytes(32)).format()
ECDSA = VerifierKey(ORIGIN, 2, b"k" * 32).format()
SAME_KEY = VerifierKey("renamed", LOG.key.kind, LOG.key.public).format()
SAME_WITNESS = VerifierKey("renamed", 4, COSIGNERS[0].key.public).format()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no quorum"),
        ("# only a comment\n", "no quorum"),
        ("quorum none", "without end"),
        ("quorum none\r\n", "control"),
        ("quorum none\x7f\n", "control"),
        ("\0quorum none\n", "control"),
        ("quorum\x0bnone\n", "control"),
        ("quorum none\nquorum none\n", "line 2: .*second"),
        ("quorum W1\n", "line 1: .*not defined"),
        (f"quorum W1\n{WITNESSES}", "line 1: .*not defined"),
        ("quorum\n", "no line"),
        ("quorum none more\n", "no line"),
        ("Quorum none\n", "no line"),
        ("quorum\u00a0none\n", "no line"),
        ("log\n", "no line"),
        (f"log {LOG.key.format()} url more\nquorum none\n", "no line"),
        ("log key\n", "malformed"),
        (f"log {NOT_A_POINT}\n", "small order"),
        (f"log {ECDSA}\n", "signature type"),
        (f"log {KEYS[0]}\n", "not one for this line"),
        (f"log {LOG.key.format()}\nlog {LOG.key.format()}\n", "line 2: .*same key"),
        (f"log {LOG.key.format()}\nlog {SAME_KEY}\n", "line 2: .*same key"),
        (f"witness W {LOG.key.format()}\n", "not one for this line"),
        ("witness W\n", "no line"),
        (f"witness W {KEYS[0]} url more\n", "no line"),
        (f"witness none {KEYS[0]}\n", "taken"),
        (f"witness W {KEYS[0]}\nwitness W {KEYS[1]}\n", "taken"),
        (f"witness W {KEYS[0]}\nwitness V {SAME_WITNESS}\n", "same key"),
        (f"{WITNESSES}group W1 any W2\n", "taken"),
        (f"{WITNESSES}group none any W2\n", "taken"),
        (f"{WITNESSES}group G any\n", "no line"),
        (f"{WITNESSES}group G any G\n", "not defined"),
        (f"{WITNESSES}group G any none\n", "not defined"),
        (f"{WITNESSES}group G any W1 W1\n", "twice"),
        (f"{WITNESSES}group G any W1\ngroup H any W1 W2\n", "twice"),
        (f"{WITNESSES}group G 0 W1\n", "threshold"),
        (f"{WITNESSES}group G 2 W1\n", "threshold"),
        (f"{WITNESSES}group G 01 W1\n", "threshold"),
        (f"{WITNESSES}group G ١ W1\n", "threshold"),
        (f"{WITNESSES}group G -1 W1\n", "threshold"),
        (f"{WITNESSES}group G most W1\n", "threshold"),
        ("#" * POLICY_BYTES_MAX + "\n", "too long"),
    ],
)
def test_a_policy_that_breaks_a_rule_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        policy(text)


@pytest.mark.parametrize(
    "text", [EXAMPLE, "quorum none\n", "witness \udcff " + KEYS[0] + "\nquorum none\n"]
)
def test_a_policy_that_is_written_says_what_was_read(text: str) -> None:
    read = Policy.parse(text.encode(errors="surrogateescape"))
    written = read.format()
    assert Policy.parse(written) == read
    assert Policy.parse(written).format() == written
    assert b"#" not in written
