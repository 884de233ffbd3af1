"""A real cluster on loopback: ClickHouse servers of two shards with two replicas each, and ZooKeeper.

They are Debian's packages, run as whoever runs the tests, each in a folder of its own with little
memory. Each server may be killed and started again by the number of its shard and replica.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVER: Final = "/usr/sbin/clickhouse-server"
_ZOOKEEPER: Final = Path("/usr/share/java/zookeeper.jar")
_START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 30.0
SHARDS: Final = 2
REPLICAS: Final = 2

_CONFIG: Final = """<yandex>
<logger><level>warning</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog></logger>
<http_port>{http}</http_port><tcp_port>{tcp}</tcp_port>
<interserver_http_port>{between}</interserver_http_port>
<interserver_http_host>127.0.0.1</interserver_http_host>
<listen_host>127.0.0.1</listen_host>
<path>{folder}/data/</path><tmp_path>{folder}/tmp/</tmp_path><user_files_path>{folder}/files/</user_files_path>
<users_config>{folder}/users.xml</users_config><default_profile>default</default_profile>
<default_database>default</default_database>
<mark_cache_size>67108864</mark_cache_size><uncompressed_cache_size>0</uncompressed_cache_size>
<max_concurrent_queries>100</max_concurrent_queries><keep_alive_timeout>30</keep_alive_timeout>
<zookeeper><node><host>127.0.0.1</host><port>{zookeeper}</port></node>
<session_timeout_ms>6000</session_timeout_ms></zookeeper>
<macros><shard>{shard}</shard><replica>{replica}</replica></macros>
<remote_servers><caretrail>{shards}</caretrail></remote_servers>
<background_pool_size>16</background_pool_size>
</yandex>
"""
_USERS: Final = """<yandex><profiles><default><max_memory_usage>2000000000</max_memory_usage>
<max_threads>2</max_threads><background_pool_size>16</background_pool_size>
<background_schedule_pool_size>4</background_schedule_pool_size></default></profiles>
<users><default><password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></default></users>
<quotas><default></default></quotas></yandex>
"""


def missing() -> str | None:
    """Return what is not installed, or None."""
    if not Path(SERVER).exists() or not _ZOOKEEPER.exists() or shutil.which("java") is None:
        return "clickhouse-server and zookeeper of Debian are not installed"
    return None


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _run(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "out.log").open("ab") as out:
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )


def _kill(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    if process is not None:
        with suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Node:
    """One ClickHouse server."""

    def __init__(self, folder: Path, *, shard: int, replica: int, ports: list[int]) -> None:
        self.folder, self.shard, self.replica = folder, shard, replica
        self.http, self.tcp, self.between = ports
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self, nodes: Iterable[Node], zookeeper: int) -> None:
        """Write the server's own configuration."""
        for name in ("data", "tmp", "files"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        shards = ""
        for shard in range(1, SHARDS + 1):
            replicas = "".join(
                f"<replica><host>127.0.0.1</host><port>{one.tcp}</port></replica>"
                for one in nodes
                if one.shard == shard
            )
            shards += f"<shard><internal_replication>true</internal_replication>{replicas}</shard>"
        config = _CONFIG.format(
            folder=escape(str(self.folder)),
            http=self.http,
            tcp=self.tcp,
            between=self.between,
            zookeeper=zookeeper,
            shard=f"s{self.shard}",
            replica=f"r{self.shard}-{self.replica}",
            shards=shards,
        )
        (self.folder / "config.xml").write_text(config)
        (self.folder / "users.xml").write_text(_USERS)

    def start(self) -> None:
        """Start the server; it may take a moment until it answers."""
        self.process = _run([SERVER, f"--config-file={self.folder / 'config.xml'}"], self.folder)

    def kill(self) -> None:
        """Kill the server, as a power cut would."""
        _kill(self.process, signal.SIGKILL)
        self.process = None

    def answers(self) -> bool:
        """Tell whether the server takes queries."""
        with suppress(OSError):
            address = f"http://127.0.0.1:{self.http}/ping"
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bool(answer.read())
        return False


class Cluster:
    """Four servers and ZooKeeper, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zookeeper, *ports = _free_ports(1 + 3 * SHARDS * REPLICAS)
        self.nodes: list[Node] = []
        for n in range(SHARDS * REPLICAS):
            shard, replica = n // REPLICAS + 1, n % REPLICAS + 1
            place = folder / f"node-{shard}-{replica}"
            self.nodes.append(
                Node(place, shard=shard, replica=replica, ports=ports[3 * n : 3 * n + 3])
            )
        self._keeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start everything, and wait until all of it answers."""
        self.start_zookeeper()
        for node in self.nodes:
            node.prepare(self.nodes, self.zookeeper)
            node.start()
        self.wait()

    def start_zookeeper(self) -> None:
        """Start ZooKeeper, if it does not run; it goes on with what its folder has."""
        if self._keeper is not None:
            return
        folder = self.folder / "zookeeper"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "zoo.cfg"
        config.write_text(
            f"tickTime=500\ndataDir={folder}/data\nclientPortAddress=127.0.0.1\n"
            f"clientPort={self.zookeeper}\nmaxClientCnxns=0\nadmin.enableServer=false\n"
            "4lw.commands.whitelist=ruok\nminSessionTimeout=1000\nmaxSessionTimeout=30000\n"
        )
        self._keeper = _run(
            ["java", "-Xmx192m", "-Xshare:auto", "-XX:+UseSerialGC", "-cp", f"{folder}:{_ZOOKEEPER}",
             "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)],
            folder,
        )  # fmt: skip
        self._until(self._keeper_answers, "ZooKeeper")

    def kill_zookeeper(self) -> None:
        """Kill ZooKeeper."""
        _kill(self._keeper, signal.SIGKILL)
        self._keeper = None

    def _keeper_answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.zookeeper), 5) as one:
            one.sendall(b"ruok")
            return one.recv(4) == b"imok"
        return False

    def wait(self) -> None:
        """Wait until every server that was started answers."""
        for node in self.nodes:
            if node.process is not None:
                self._until(node.answers, f"the server in {node.folder.name}")

    def _until(self, ready: object, what: str) -> None:
        assert callable(ready)
        end = time.monotonic() + _START_SECONDS
        while not ready():
            if time.monotonic() > end:
                raise AssertionError(f"{what} did not start: see {self.folder}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop everything."""
        for node in self.nodes:
            node.kill()
        self.kill_zookeeper()

    def node(self, shard: int, replica: int) -> Node:
        """Return one server."""
        return self.nodes[(shard - 1) * REPLICAS + replica - 1]

    def url(self, database: str, *, log: str = "main") -> str:
        """Return the store's URL."""
        hosts = ",".join(f"127.0.0.1:{node.http}" for node in self.nodes)
        return f"clickhouse://{hosts}/{database}?log={log}&zookeeper=127.0.0.1:{self.zookeeper}"
