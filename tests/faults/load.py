"""One client of a run by redis-py: reads commands, one a line, and prints what came of each, as `libraries.rs` has it.

Arguments: `single`, `cluster` or `sentinel`, and the addresses of nodes.
"""

import sys

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

TIMEOUT = 4


def connect(way, nodes):
    # No command is sent twice when a connection breaks: it may have been run already.
    options = {
        "socket_timeout": TIMEOUT,
        "socket_connect_timeout": TIMEOUT,
        "decode_responses": True,
        "retry": Retry(NoBackoff(), 0),
    }
    if way == "single":
        return redis.Redis(*nodes[0], **options)
    if way == "cluster":
        client = RedisCluster(startup_nodes=[ClusterNode(*node) for node in nodes], **options)
        client.command_flags["TICKET"] = RedisCluster.DEFAULT_NODE
        return client
    return Sentinel(nodes, socket_timeout=TIMEOUT).master_for("uhaha", **options)


def outcome(client, words):
    try:
        reply = client.execute_command(*words)
    except redis.ResponseError as error:
        # Of the codes that the library knows, it has taken the text away.
        return f"-{error.status_code} {error}" if error.status_code else f"-{error}"
    except (redis.RedisError, OSError) as error:
        return f"?{type(error).__name__} {error}"
    if reply is True:
        return "+OK"
    if reply is None:
        return "_"
    return f":{reply}" if isinstance(reply, int) else f"${reply}"


nodes = [(host, int(port)) for host, port in (address.split(":") for address in sys.argv[2:])]
client = connect(sys.argv[1], nodes)
for line in sys.stdin:
    print(outcome(client, line.split()).replace("\n", " "), flush=True)
