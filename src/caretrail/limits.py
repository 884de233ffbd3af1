"""Every bound of CareTrail, with its unit and its reason."""

from __future__ import annotations

from typing import Final

# IHE's largest BALP example is 5,087 bytes; syslog senders may use 1 MiB.
EVENT_BYTES_MAX: Final = 1024 * 1024
BUNDLE_ENTRIES_MAX: Final = 1_000  # What Aidbox sends at once.
BUNDLE_BYTES_MAX: Final = 16 * 1024 * 1024  # A thousand of the largest BALP examples, thrice.

# A gzip body may grow this much: JSON of one shape reaches 60, a bomb 1,000.
INFLATE_RATIO_MAX: Final = 100
# A body below this size is never called a bomb, however well it packs.
INFLATE_BYTES_FREE: Final = 1024 * 1024

# FHIR R4 AuditEvent nests 8 levels; contained resources and extensions add some.
NESTING_DEPTH_MAX: Final = 64
# A list of problems longer than this helps nobody; the last issue says that more were found.
ISSUES_MAX: Final = 100
# Parts of events that repeat (a user, a workstation, a code) and what follows from them: as many of
# each kind are remembered, none larger than this. Together that is about 60 MB.
PARTS_REMEMBERED: Final = 8_192
PART_BYTES_REMEMBERED: Final = 2_048
EVENT_BYTES_REMEMBERED: Final = 16 * 1024  # Of larger events no part is remembered.

# The open batch: what waits for the disk. Past it the answer is 503 with Retry-After.
QUEUE_ENTRIES_MAX: Final = 20_000
QUEUE_BYTES_MAX: Final = 128 * 1024 * 1024  # Two commits' worth: one is written, one fills.
# A commit takes several bundles; bytes, not entries, bound the memory we promise.
COMMIT_ENTRIES_MAX: Final = 2_000
COMMIT_BYTES_MAX: Final = 64 * 1024 * 1024  # Four Bundles of the largest size.
assert BUNDLE_BYTES_MAX <= COMMIT_BYTES_MAX <= QUEUE_BYTES_MAX
assert BUNDLE_ENTRIES_MAX <= COMMIT_ENTRIES_MAX <= QUEUE_ENTRIES_MAX

# The request line and the headers together; uvicorn's own bound is 64 KiB.
QUERY_BYTES_MAX: Final = 64 * 1024
# One search: values after splitting at commas, over all parameters.
SEARCH_VALUES_MAX: Final = 1_000
SEARCH_COUNT_DEFAULT: Final = 50  # A screen or two.
SEARCH_COUNT_MAX: Final = 1_000  # Some 3 MB of JSON; whoever wants more follows the links.
# Events that `_revinclude` adds to a page.
INCLUDED_MAX: Final = 1_000
# What one search may spend before it gives up and says so.
SEARCH_SECONDS_MAX: Final = 5.0
# Spent on a total nobody asked for, before the Bundle goes without one.
TOTAL_SECONDS_FREE: Final = 0.0015
# A log of no more entries than these is counted all the same, for this long.
SMALL_LOG_ENTRIES: Final = 20_000
TOTAL_SECONDS_SMALL_LOG: Final = 0.2
# Distinct indexed values that one value of a search (contains, below, text) may stand for.
VOCABULARY_MATCHES_MAX: Final = 2_000
# The longest text kept in an index term; a longer value is found by its start and then compared.
TERM_CHARACTERS_MAX: Final = 120
# Words of one event in the full-text index (`_content`).
WORDS_MAX: Final = 256

# Of earlier events with an event's checksum the latest are compared with it: a sender may repeat itself
# for ever.
COPIES_COMPARED_MAX: Final = 16
# Entries that were refused out of a Bundle are kept for their sender, up to this many bytes.
QUARANTINE_BYTES_MAX: Final = 1024 * 1024 * 1024

# A tree's size: what the formats of C2SP can say in 63 bits.
TREE_SIZE_MAX: Final = 2**63
# Hashes in an inclusion or consistency proof: the height of the largest tree (C2SP tlog-witness).
PROOF_HASHES_MAX: Final = 63
# An entry in a bundle has a length of 16 bits (C2SP tlog-tiles).
LOG_ENTRY_BYTES_MAX: Final = 65_535
# What a log may answer for a tile: 256 entries of the largest size, each after its length.
TILE_BYTES_MAX: Final = 256 * (2 + LOG_ENTRY_BYTES_MAX)
# Tiles whose inner nodes a prover keeps: 16 KiB each, 16 MiB in all.
PROVER_TILES_MAX: Final = 1_024
# Go's implementation has the same bound; C2SP signed-note asks for 16 at least.
NOTE_SIGNATURES_MAX: Final = 100
# A hundred ML-DSA-44 signatures in base64 take 330 KB; the text of a checkpoint is a few lines.
NOTE_BYTES_MAX: Final = 512 * 1024
# A note, and 63 hashes in base64 before it.
WITNESS_REQUEST_BYTES_MAX: Final = NOTE_BYTES_MAX + 4 * 1024
# What an application may put beside a proof; it is not authenticated.
PROOF_EXTRA_BYTES_MAX: Final = 64 * 1024
# A proof, a note, and extra data in base64.
PROOF_FILE_BYTES_MAX: Final = WITNESS_REQUEST_BYTES_MAX + 2 * PROOF_EXTRA_BYTES_MAX
# C2SP tlog-policy asks for 32 logs, witnesses and groups; 64 ML-DSA-44 keys take 120 KB.
POLICY_BYTES_MAX: Final = 256 * 1024
# Keys of one log in all its life, a rotation each.
KEY_HISTORY_PERIODS_MAX: Final = 10_000
# An evidence bundle, unpacked: what a browser still holds in memory. Some million small events.
EVIDENCE_BYTES_MAX: Final = 1024 * 1024 * 1024
# Members of an evidence bundle, of which single proofs are one each; ZIP itself ends at 65,535.
EVIDENCE_MEMBERS_MAX: Final = 60_000

# A checkpoint is signed this long after the log has grown (Sunlight's 200 ms), and when it has not.
CHECKPOINT_SECONDS_MIN: Final = 0.2
CHECKPOINT_SECONDS_IDLE: Final = 600.0
# Witnesses are asked no oftener than this: a cosignature in a second or two is early enough.
WITNESS_SECONDS_BETWEEN: Final = 1.0
# A time stamp and a write-once copy an hour fix all that came before.
ANCHOR_SECONDS: Final = 3_600.0
# How long a post may wait for the checkpoint that covers it before it is answered without.
RECEIPT_SECONDS_MAX: Final = 15.0
# Capture: what is kept of one body to find the patients in it; a page of 1,000 resources is 3 MB.
CAPTURE_BODY_BYTES_MAX: Final = 4 * 1024 * 1024
# A Bundle in a Bundle in a Bundle is all that is looked for: a batch, its answer, a document.
BUNDLE_NESTING_MAX: Final = 4
# In clear beside the raw request, which may be longer.
QUERY_TEXT_CHARACTERS_MAX: Final = 4_096
# Events of one exchange, one a patient; the patients past it share events that only name them.
PATIENT_EVENTS_MAX: Final = 1_000
# Extra entities of an event that name results; an event with so many has some 12 KB.
RELATED_ENTITIES_MAX: Final = 100
SECURITY_LABELS_MAX: Final = 20  # More than any resource of the guides carries.
# Shapes of events that are known to be sound, of 1 KB each; a day of a hospital has some hundreds.
EVENT_SHAPES_MAX: Final = 4_096
# An X-Request-Id that is longer, or not visible ASCII, is replaced by one of ours.
REQUEST_ID_CHARACTERS_MAX: Final = 128
# Paths of token endpoints that are learned from metadata: some servers have several issuers.
TOKEN_ENDPOINTS_MAX: Final = 64
# A text that an identity provider wrote: names, reasons, agents of browsers.
PROVIDER_TEXT_CHARACTERS_MAX: Final = 256
# Addresses of running exports that a process remembers, the oldest forgotten first.
EXPORT_ADDRESSES_MAX: Final = 10_000
# Sending events: tries, and the longest wait between two of them.
SEND_ATTEMPTS_MAX: Final = 6
SEND_WAIT_SECONDS_MAX: Final = 10.0
SEND_SECONDS_MAX: Final = 10.0  # One try; a repository commits in milliseconds.
# A key in PEM takes 120 to 400 bytes, with a text around it a little more.
KEY_FILE_BYTES_MAX: Final = 16 * 1024
# A token or a machine far away signs within a second; a person who has to press a key takes some.
SIGNING_SECONDS_MAX: Final = 30.0
# An Ed25519 signature in base64 takes 88 bytes.
SIGNER_OUTPUT_BYTES_MAX: Final = 1_024
# Thirty notes of the largest size, or some ten thousand as they are.
CHECKPOINT_STORE_BYTES_MAX: Final = 16 * 1024 * 1024
# Another process holds the store's lock for a few milliseconds.
CHECKPOINT_STORE_SECONDS_MAX: Final = 10.0
# One conversation with a witness: three requests at most, on a way across the country.
WITNESS_SECONDS_MAX: Final = 10.0
# A quorum is there: how long the others are waited for, so that a usual answer is not left out.
WITNESS_GRACE_SECONDS: Final = 0.5
# A witness that was down is asked again within this time, and not more often than the second.
WITNESS_PAUSE_SECONDS_MIN: Final = 1.0
WITNESS_PAUSE_SECONDS_MAX: Final = 300.0
# A time stamp with its certificates takes 1 to 10 KB.
TIME_STAMP_BYTES_MAX: Final = 64 * 1024
TIME_STAMP_SECONDS_MAX: Final = 30.0  # Some authorities queue.
# A verifier key takes 100 bytes, one of ML-DSA-44 2 KB: a witness serves some hundred logs.
WITNESS_LOGS_BYTES_MAX: Final = 1024 * 1024
# A clock that is set right goes back by less; further back no time is vouched for.
WITNESS_CLOCK_BACK_SECONDS_MAX: Final = 300
# A request comes in one piece or a few; who takes longer holds a place of somebody else.
WITNESS_BODY_SECONDS_MAX: Final = 10.0
# Connections to a witness: each log has one, and auditors a few.
WITNESS_CONNECTIONS_MAX: Final = 256
# Entries that one event of an erasure names: with a detail each it stays below EVENT_BYTES_MAX.
ERASED_AT_ONCE_MAX: Final = 5_000
# A server that has just started has other things to do than to read its whole log.
VERIFICATION_START_SECONDS: Final = 60.0
# What a restart repeats at most; each time it is written the disk is waited for.
VERIFICATION_SAVE_SECONDS: Final = 5.0

# Exports. Up to this many matches have a proof each, which can be handed on one by one; above it
# one proof of a range is smaller.
EXPORT_PROOFS_MAX: Final = 1_000
# What the parts of a bundle may take: making it needs some three times this in memory, and checking
# it about as much. Entries without content take 150 to 250 bytes.
EXPORT_BUNDLE_BYTES_MAX: Final = 256 * 1024 * 1024
# Events read and written at once: some megabytes.
EXPORT_PORTION_ENTRIES: Final = 500
# A thousand matches of a search that the index does not answer, in a log of some million events.
EXPORT_PAGE_SECONDS_MAX: Final = 60.0
# A checkpoint over the export's own event takes a fraction of a second, a quorum of witnesses a few.
EXPORT_CHECKPOINT_SECONDS_MAX: Final = 30.0
# Most authorities stamp within a second; an export without a stamp is better than none.
EXPORT_STAMP_SECONDS_MAX: Final = 10.0
# People and devices of one report.
EXPORT_SUBJECTS_MAX: Final = 20
EXPORT_SUBJECT_CHARACTERS_MAX: Final = 1_000
# Searches of one export, of which each event needs to fit one.
EXPORT_FILTERS_MAX: Final = 20
# Exports that run or wait at a server; they run one after the other.
EXPORT_JOBS_MAX: Final = 4
# Finished ones whose files wait to be fetched, and for how long.
EXPORT_RESULTS_MAX: Final = 16
EXPORT_SECONDS_KEPT: Final = 4 * 3_600.0
# One file of NDJSON at a server: a disk is not filled by one request. Some ten million events.
EXPORT_FILE_BYTES_MAX: Final = 16 * 1024 * 1024 * 1024
# One answer of a server that exports: connecting, or the next piece of a file.
FETCH_SECONDS_MAX: Final = 60.0
# FHIR's integer ends here; a source that sends 500 events a second reaches it after 49 days.
SOURCE_NUMBER_MAX: Final = 2**31 - 1

# The spool. Its default is some 5 million events: a day of outage at 60 a second.
SPOOL_BYTES_DEFAULT: Final = 8 * 1024 * 1024 * 1024
# A file of events, which goes away when its last event is in the repository.
SPOOL_SEGMENT_BYTES: Final = 16 * 1024 * 1024
# A smaller spool would be full with what is being sent.
SPOOL_BYTES_MIN: Final = 4 * SPOOL_SEGMENT_BYTES
# This share is kept for exchanges that are under way when no more are let in.
SPOOL_RESERVE_SHARE: Final = 1 / 16
# An answer waits no longer than this for the disk; then it is not given (fail closed).
SPOOL_WRITE_SECONDS_MAX: Final = 5.0
# A batch on its way from the spool: half of what a repository takes at once.
FORWARD_ENTRIES_MAX: Final = 500
FORWARD_BYTES_MAX: Final = 4 * 1024 * 1024
# Nobody waits for these: a repository takes fifty events in one batch with less work than in fifty.
FORWARD_GATHERING_SECONDS: Final = 0.1
# A repository that is down is asked again after at most this time.
FORWARD_WAIT_SECONDS_MAX: Final = 60.0
# It may ask for more with Retry-After, up to this.
FORWARD_RETRY_AFTER_SECONDS_MAX: Final = 600.0
FORWARD_SECONDS_MAX: Final = 30.0  # One try of a batch.
# In `block` mode an answer waits so long for the repository.
CONFIRM_SECONDS_MAX: Final = 10.0

# The gateway: a server that is alive takes a connection in less.
UPSTREAM_CONNECT_SECONDS: Final = 5.0
# Between two pieces of an answer; a large search may think for a while.
UPSTREAM_SECONDS_DEFAULT: Final = 60
UPSTREAM_CONNECTIONS_MAX: Final = 1_000  # Requests at one time; more wait for a connection.
UPSTREAM_IDLE_SECONDS: Final = 4.0  # Common servers close an idle connection after 5 or more.
# An answer that is here sooner need not be called off when its client goes away.
CLIENT_UNWATCHED_SECONDS: Final = 0.05
# How much of a body is looked at to find what kind of resource it is.
KIND_BYTES_MAX: Final = 1_024
# Of an answer that the client takes slowly: so much is kept before the server has to wait.
UPSTREAM_BUFFER_BYTES: Final = 256 * 1024
UPSTREAM_HEAD_BYTES_MAX: Final = 256 * 1024  # Long links of searches, several times.

# The clinic: a resource is no longer than what the auditor examines of a body.
RESOURCE_BYTES_MAX: Final = CAPTURE_BODY_BYTES_MAX
# Elements of one resource that search can find; a ValueSet with 10,000 codes has so many.
INDEX_ROWS_MAX: Final = 20_000
CHAIN_LINKS_MAX: Final = 4  # Each link of a chained search is a join.
SORT_KEYS_MAX: Final = 4  # Each is looked up for every resource that fits.
INCLUDE_ROUNDS_MAX: Final = 4  # How far `_include:iterate` follows references.
# A clock that is slewed moves by half a millisecond a second; what moves by more was set.
CLOCK_STEP_MILLISECONDS: Final = 2_000
CLOCK_WATCH_SECONDS: Final = 5.0
# A second person answers within a working day; what is asked for must not lie about.
APPROVAL_SECONDS: Final = 24 * 3_600
APPROVAL_FILE_BYTES_MAX: Final = 1024 * 1024  # The ids of thousands of events to be erased.
APPROVALS_WAITING_MAX: Final = 100

# An access token: headers may have 64 KiB, tokens with many groups reach 8.
TOKEN_BYTES_MAX: Final = 16 * 1024
# One that is good for longer cannot be taken back: RFC 9700 wants them to live shortly.
TOKEN_SECONDS_MAX: Final = 24 * 3600
# How far an issuer's clock may be from ours.
CLOCK_SKEW_SECONDS: Final = 60
# Credentials that were verified are remembered by their digests: 2 KB each, 20 MB in all.
CREDENTIALS_REMEMBERED: Final = 10_000
# A token that was refused is refused for so long without another look.
REFUSED_SECONDS_KEPT: Final = 10
# What an issuer may answer: a JWK Set of a hundred RSA keys takes 60 KB.
ISSUER_BYTES_MAX: Final = 256 * 1024
ISSUER_KEYS_MAX: Final = 100
ISSUER_SECONDS_MAX: Final = 5.0  # A request waits for it.
# Keys are fetched again after this long, and no key id makes it happen more often than the other.
JWKS_SECONDS_KEPT: Final = 3_600
JWKS_SECONDS_BETWEEN: Final = 10
# Keys of an issuer that does not answer any more are good for a day: it may be down for a night.
JWKS_SECONDS_STALE: Final = 24 * 3_600
# A token that was introspected and is revoked then is refused after this long at the latest.
INTROSPECTION_SECONDS_KEPT: Final = 30
INTROSPECTIONS_AT_ONCE: Final = 8
# How soon another certificate is noticed, in seconds: it is there days before the old one ends.
CERTIFICATE_SECONDS_BETWEEN: Final = 10.0
# Sources whose rates are counted: 200 bytes each.
SOURCES_COUNTED_MAX: Final = 10_000
# Denied attempts that are recorded one by one: of one peer, and of all, in a window.
DENIALS_PEER_MAX: Final = 10
DENIALS_ALL_MAX: Final = 300
DENIALS_PEERS_MAX: Final = 2_000
DENIAL_SECONDS_WINDOW: Final = 60

# An audit message names some tens of elements; of a study with all its instances some thousands.
AUDIT_MESSAGE_ELEMENTS_MAX: Final = 20_000
# A syslog frame: a message of the largest size, and the header before it (RFC 5424, 6).
SYSLOG_FRAME_BYTES_MAX: Final = EVENT_BYTES_MAX + 16 * 1024
# What may be sent at once beyond that, of which the beginning is kept.
SYSLOG_COUNT_MAX: Final = 64 * 1024 * 1024
# One commit of a peer's messages, and how many of them may be on their way to the disk.
SYSLOG_BATCH_ENTRIES: Final = 500
SYSLOG_BATCH_BYTES: Final = 4 * 1024 * 1024  # A few of the largest size.
SYSLOG_BATCHES_AT_ONCE: Final = 4  # The store is never without one.
# What waits of one peer, and of all: past it a stream is not read on, and a datagram is refused.
SYSLOG_PEER_BYTES_MAX: Final = 8 * 1024 * 1024
SYSLOG_ALL_BYTES_MAX: Final = 128 * 1024 * 1024  # As the open batch.
assert SYSLOG_FRAME_BYTES_MAX <= SYSLOG_BATCH_BYTES <= SYSLOG_PEER_BYTES_MAX
# What is held beside the bytes of a waiting message, about.
SYSLOG_FRAME_BYTES_BESIDE: Final = 256
# Connections, of one address and of all; each may hold one message that is not whole.
SYSLOG_CONNECTIONS_PEER_MAX: Final = 32
SYSLOG_CONNECTIONS_MAX: Final = 512  # More than a hospital has machines that keep one.
# A message of the largest size takes a second on a slow line; who stops in its middle is gone.
SYSLOG_FRAME_SECONDS_MAX: Final = 60.0
SYSLOG_HANDSHAKE_SECONDS_MAX: Final = 10.0  # Of TLS, on a slow line.
# Places in one stream where no message begins: after so many it is closed.
SYSLOG_STRAYS_MAX: Final = 16
# Addresses that datagrams are filed under; anybody can make up any address.
SYSLOG_ADDRESSES_MAX: Final = 1_000
# How long a stop waits for messages to become durable.
SYSLOG_STOP_SECONDS_MAX: Final = 15.0
# Between two tries while the store takes nothing.
SYSLOG_RETRY_SECONDS_MAX: Final = 5.0
# Browsers that are signed in to the console, or about to: 4 KB each with their tokens, 40 MB in all.
CONSOLE_SESSIONS_MAX: Final = 10_000
# A form of the console: the longest field is a token.
CONSOLE_FORM_BYTES_MAX: Final = 16 * 1024
# Facets are counted event by event; past this many events they are those of the newest ones.
FACET_EVENTS_MAX: Final = 50_000
# The newest events of a search, of which the console counts facets: a second counts 14,000.
CONSOLE_FACET_EVENTS: Final = 500
# What goes out: one answer of a receiver, and how long it may take.
OUTGOING_SECONDS_MAX: Final = 30.0
# Elasticsearch answers a batch of 500 with 100 KB; a FHIR repository that tells of each, with 1 MB.
OUTGOING_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
# A batch of a feed: half of what a repository takes at once.
FEED_ENTRIES_MAX: Final = 500
FEED_BYTES_MAX: Final = 4 * 1024 * 1024
# A receiver that is down is asked again after at most this time; it may ask for more, up to that.
FEED_WAIT_SECONDS_MAX: Final = 60.0
FEED_RETRY_AFTER_SECONDS_MAX: Final = 600.0
# A syslog receiver that stops closes its connections within this time of what it was sent last.
SYSLOG_GRACE_SECONDS: Final = 0.5
SYSLOG_ENTRIES_MAX: Final = 2_000  # A batch has that wait once.
# Subscriptions: each reads the log by itself, and is created by those who may read it.
SUBSCRIPTIONS_MAX: Final = 100
SUBSCRIPTIONS_OWNER_MAX: Final = 20
SUBSCRIPTION_DAYS_MAX: Final = (
    90  # Who still wants it then asks again, with the rights he has then.
)
SUBSCRIPTION_ENTRIES_MAX: Final = 100  # Ids in one message, 40 KB.
SUBSCRIPTION_HANDSHAKES_MAX: Final = 6  # Over a minute or so.
# What a feed has handed on is an event of the log's own: one an hour, never one a batch.
FEED_REPORT_SECONDS: Final = 3_600.0
FEEDS_MAX: Final = 50  # Each has a task, and reads the log by itself.
# Entries that a receiver refused for good are named in health, the last ones of so many.
FEED_REFUSED_NAMED_MAX: Final = 20
