"""What the examples share: containers to connect, and results told so that two sockets can be compared line by line."""
import json
import os
import re

import docker
from docker import types

# Without an engine: containers are there already, sandboxes that netctl made.
ALONE = 'ALONE' in os.environ
# There netd speaks newer versions of the API than the engine that it is compared with.
client = docker.from_env(version='1.51' if ALONE else None)
api = client.api


def plain(value):
    """Without what differs from run to run: ids, times, and the addresses that a socket chose (scripts ask for others)."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if key != 'IPPrefixLen'}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        for form, word in [
            (r'\b[0-9a-f]{64}\b', 'ID'),
            (r'\b[0-9a-f]{12}\b', 'SHORT'),
            (r'\b(?!02:42:c0:a8:36:4d)([0-9a-f]{2}:){5}[0-9a-f]{2}\b', 'MAC'),
            (r'\b172\.(1[7-9]|2\d|3[01])(\.\d+){2}(/\d+)?', 'CHOSEN'),
            (r'\b(192\.168\.\d+\.|fd00:[0-9a-f]+::)[2-9]\b', r'\1CHOSEN'),
            # A link by its name alone is told with the name that it has there.
            (r'^(\w+):\1$', r'\1'),
            (r'\b\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)', 'TIME'),
        ]:
            value = re.sub(form, word, value)
    return value


def tell(what, value):
    print(what + ': ' + json.dumps(plain(value), sort_keys=True), flush=True)


def refused(what, work):
    """Tells how something is refused."""
    try:
        work()
    except docker.errors.APIError as error:
        tell(what, [error.response.status_code, error.explanation])
    else:
        raise AssertionError(what + ' is not refused')


def box(name, **options):
    """A running container."""
    if ALONE:
        return client.containers.get(name)
    return client.containers.run('busybox', 'sleep 100000', name=name, detach=True, stop_signal='SIGKILL', **options)


def away(*boxes):
    """Removes containers; sandboxes of netctl's stay."""
    for one in boxes:
        if not ALONE:
            one.remove(force=True)


def networks(container):
    """`NetworkSettings.Networks` of a container as it is now."""
    container.reload()
    shown = container.attrs['NetworkSettings']['Networks']
    if ALONE:
        # No bridge was joined by the way.
        return shown
    return {name: settings for name, settings in shown.items() if name != 'bridge'}
