"""Runs the scenario by redis-py and prints one reply a line. Arguments: port, protocol version, way of calling."""

import asyncio
import os
import sys

import redis
import redis.asyncio

port, protocol, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
lines = [line for line in os.environ["SCENARIO"].splitlines() if line and not line.startswith("#")]
commands = [line.split(" => ")[0].split() for line in lines]


def show(reply):
    if reply is None:
        return "(nil)"
    if isinstance(reply, Exception):
        return f"(error) {reply}"
    if isinstance(reply, int):
        return f"(integer) {reply}"
    if isinstance(reply, list):
        return " ".join(show(item) for item in reply)
    return reply.decode()


def caught(call):
    try:
        return call()
    except redis.ResponseError as error:
        return error


async def run_asyncio():
    client = redis.asyncio.Redis(port=port, protocol=protocol)
    client.response_callbacks.clear()
    replies = []
    for command in commands:
        try:
            replies.append(await client.execute_command(*command))
        except redis.ResponseError as error:
            replies.append(error)
    await client.aclose()
    return replies


if mode == "asyncio":
    replies = asyncio.run(run_asyncio())
else:
    client = redis.Redis(port=port, protocol=protocol, client_name="scenario")
    # The replies as they come, without what redis-py makes of those to commands that it knows.
    client.response_callbacks.clear()
    if mode == "pipeline":
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies = pipeline.execute(raise_on_error=False)
    else:
        replies = [caught(lambda: client.execute_command(*command)) for command in commands]
for reply in replies:
    print(show(reply))
