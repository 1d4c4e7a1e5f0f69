"""True Redis servers, one or a cluster, each test's own or one for many."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
import redis


def free_ports(count):
    """Free a moment ago."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@dataclass
class Server:
    """One process; `client` asks it as redis-py does without us."""

    port: int
    process: subprocess.Popen
    client: redis.Redis

    def url(self, namespace="kvstore"):
        return f"redis://127.0.0.1:{self.port}?namespace={namespace}"

    def hang(self):
        hang(self.process)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()


def hang(process):
    """All of its threads have stopped when this returns."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


@contextmanager
def redis_server(*options, port=None, password=None):
    """Answers when it is entered."""
    if shutil.which("redis-server") is None:
        _cannot("redis-server is not installed (apt install redis-server)")
    port = port or free_ports(1)[0]
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options]
    process = subprocess.Popen([str(each) for each in command], stdout=subprocess.DEVNULL, cwd="/tmp")
    client = redis.Redis(port=port, password=password, socket_timeout=5)
    try:
        wait_until(lambda: _answers(client), "redis-server answers")
        yield Server(port, process, client)
    finally:
        client.close()
        process.kill()  # a process that is stopped as well
        process.wait()


@contextmanager
def redis_cluster(tmp_path, num_nodes=3):
    """That many masters, which share the slots."""
    ports, buses = free_ports(num_nodes), free_ports(num_nodes)
    with ExitStack() as opened:
        nodes = []
        for port, bus in zip(ports, buses, strict=True):
            directory = tmp_path / str(port)
            directory.mkdir()
            options = ["--cluster-enabled", "yes", "--cluster-port", bus, "--dir", directory]
            options += ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "2000"]
            nodes.append(opened.enter_context(redis_server(*options, port=port)))
        for index, node in enumerate(nodes):
            first, last = (16384 * place // num_nodes for place in (index, index + 1))
            node.client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            node.client.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0], buses[0])
        wait_until(lambda: all(_is_whole(node.client, num_nodes) for node in nodes), "the cluster is whole")
        yield nodes


def _is_whole(client, num_nodes):
    known = client.execute_command("CLUSTER", "SLOTS")
    return len(known) == num_nodes and b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")


def _answers(client):
    try:
        return client.ping()
    except redis.exceptions.AuthenticationError:
        return True
    except redis.exceptions.RedisError:
        return False


def wait_until(holds, what, timeout_s=20.0):
    until_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until_s, f"not in time: {what}"
        time.sleep(0.02)


def _cannot(why):
    if os.environ.get("KVSTORE_REQUIRE_REAL_MODEL"):
        pytest.fail(why)
    pytest.skip(why)
