# The examples and every method, parameter and attribute of docker-py's page "Networks", in its order.

# create: a network using the bridge driver.
network1 = client.networks.create("network1", driver="bridge")
tell('create', [type(network1).__name__, network1.name, network1.attrs])
network1.remove()

# create: with a custom IPAM configuration.
ipam_pool = docker.types.IPAMPool(
    subnet='192.168.52.0/24',
    gateway='192.168.52.254'
)
ipam_config = docker.types.IPAMConfig(
    pool_configs=[ipam_pool]
)
network1 = client.networks.create(
    "network1",
    driver="bridge",
    ipam=ipam_config
)
tell('create with IPAM', network1.attrs)
assert network1.attrs['IPAM']['Options'] is None

# create: each of its parameters.
for parameter, value in {
    'options': {'com.docker.network.driver.mtu': '1400'},
    'check_duplicate': True,
    'internal': True,
    'labels': {'tier': 'front'},
    'enable_ipv6': True,
    'attachable': True,
    'scope': 'local',
}.items():
    ipam = types.IPAMConfig(pool_configs=[types.IPAMPool(subnet='192.168.53.0/24')])
    if parameter == 'enable_ipv6':
        ipam['Config'].append(types.IPAMPool(subnet='fd00:53::/64'))
    made = client.networks.create('network2', ipam=ipam, **{parameter: value})
    tell('create ' + parameter, made.attrs)
    made.remove()
for parameter in [{'ingress': True}, {'scope': 'swarm'}, {'driver': 'nosuch'}]:
    refused('create %s' % parameter, lambda: client.networks.create('network2', **parameter))
refused('create twice', lambda: client.networks.create('network1', check_duplicate=True))

# get: by id, by name, verbose, by scope.
for found in [
    client.networks.get(network1.id),
    client.networks.get('network1'),
    client.networks.get(network1.id, verbose=True),
    client.networks.get('network1', scope='local'),
]:
    assert found == network1, found
refused('get missing', lambda: client.networks.get('network9'))
try:
    client.networks.get('network9')
except docker.errors.NotFound as error:
    tell('NotFound', error.explanation)
refused('get in swarm', lambda: client.networks.get('network1', scope='swarm'))

# list: names and ids, and the filters that come with the engine.
tell('list', sorted(n.name for n in client.networks.list()))
tell('list names', [n.name for n in client.networks.list(names=['network1'])])
tell('list ids', [n.name for n in client.networks.list(ids=[network1.id])])
tell('list short ids', [n.name for n in client.networks.list(ids=[network1.short_id])])
tell('list none', client.networks.list(names=['network9']))
tell('list filters', [n.name for n in client.networks.list(filters={'driver': 'bridge', 'name': 'network1'})])
tell('list greedy', [n.name for n in client.networks.list(names=['network1'], greedy=True)])

# prune: with filters and without.
client.networks.create('unused', labels={'old': 'yes'})
tell('prune filtered', client.networks.prune(filters={'label': 'old=no'}))
tell('prune label', client.networks.prune(filters={'label': ['old']}))
keeper = box('box1', **({} if ALONE else {'network': 'network1'}))
if ALONE:
    network1.connect(keeper)
client.networks.create('unused')
tell('prune', client.networks.prune())
tell('prune again', client.networks.prune())

# Network: id, short_id, name, containers, attrs.
network1.reload()
# The page says 10 characters; from docker-py 6 on it is 12.
assert network1.id.startswith(network1.short_id) and len(network1.short_id) >= 10
assert [c.name for c in network1.containers] == ['box1'], network1.containers
tell('attrs', network1.attrs)

# connect: each of its parameters, with a container, its name, its id.
other = box('box2')
pool = [types.IPAMPool(subnet='192.168.54.0/24'), types.IPAMPool(subnet='fd00:54::/64')]
network2 = client.networks.create('network2', enable_ipv6=True, ipam=types.IPAMConfig(pool_configs=pool))
for parameter, value in {
    'aliases': ['foo', 'bar'],
    'links': [('box1', 'peer')],
    'ipv4_address': '192.168.54.54',
    'ipv6_address': 'fd00:54::54',
    'link_local_ips': ['169.254.8.8'],
    'driver_opt': {'com.example.opt': '1'},
    'mac_address': '02:42:c0:a8:36:4d',
}.items():
    network2.connect(other, **{parameter: value})
    tell('connect ' + parameter, networks(other)['network2'])
    network2.disconnect(other)
network2.connect('box2')
refused('connect twice', lambda: network2.connect('box2'))
network2.disconnect('box2')
network2.connect(other.id)
network2.reload()
assert [c.name for c in network2.containers] == ['box2']
# disconnect: forced, and of who is not connected.
network2.disconnect(other.id, force=True)
tell('disconnected', sorted(networks(other)))
refused('disconnect twice', lambda: network2.disconnect('box2'))
refused('connect missing', lambda: network2.connect('nosuch'))
refused('disconnect missing', lambda: network2.disconnect('nosuch'))
refused('disconnect missing by force', lambda: network2.disconnect('nosuch', force=True))
refused('connect outside', lambda: network2.connect('box2', ipv4_address='10.1.1.1'))

# reload: what others did is seen.
before = client.networks.get('network2')
network2.connect(other)
assert before.attrs['Containers'] == {}
before.reload()
tell('reloaded', sorted(c['Name'] for c in before.attrs['Containers'].values()))

# remove: refused as long as somebody is on it.
refused('remove used', network2.remove)
network2.disconnect(other)
network2.remove()
refused('removed', network2.reload)
network1.disconnect(keeper)
network1.remove()
away(keeper, other)
tell('left', sorted(n.name for n in client.networks.list()))
