# What docker-py's own integration tests check of networks (its api_network_test and models_networks_test), as they are
# written there: through the low-level client, each on networks of its own.
import contextlib
import itertools

number = itertools.count()


@contextlib.contextmanager
def net(**options):
    """A new network's name and id; removed after it was looked at."""
    name = 'dockerpy%d' % next(number)
    made = api.create_network(name, **options)['Id']
    try:
        yield name, made
    finally:
        api.remove_network(made)


def container(**options):
    """A created container's id."""
    options.setdefault('name', 'box%d' % next(number))
    return api.create_container('busybox', 'sleep 100000', stop_signal='SIGKILL', **options)['Id']


def on(who, name):
    return api.inspect_container(who)['NetworkSettings']['Networks'][name]


# test_list_networks
with net() as (name, made):
    assert [n for n in api.networks() if n['Id'] == made]
    assert [n['Name'] for n in api.networks(names=[name])] == [name]
    assert [n['Id'] for n in api.networks(ids=[made[:12]])] == [made]
    tell('networks', api.networks(names=[name]))

# test_inspect_network
with net() as (name, made):
    shown = api.inspect_network(made)
    assert shown['Id'] == made and shown['Name'] == name and shown['Driver'] == 'bridge'
    assert shown['Scope'] == 'local' and shown['IPAM']['Driver'] == 'default'
    assert api.inspect_network(name, verbose=True)['Id'] == made
    assert api.inspect_network(name, scope='local')['Id'] == made

# test_create_network_with_ipam_config
config = types.IPAMConfig(driver='default', pool_configs=[types.IPAMPool(
    subnet="172.28.0.0/16",
    iprange="172.28.5.0/24",
    gateway="172.28.5.254",
    aux_addresses={"a": "172.28.1.5", "b": "172.28.1.6", "c": "172.28.1.7"},
)])
with net(ipam=config) as (name, made):
    ipam = api.inspect_network(made)['IPAM']
    assert ipam.pop('Options') is None
    assert ipam == {'Driver': 'default', 'Config': [{
        'Subnet': "172.28.0.0/16", 'IPRange': "172.28.5.0/24", 'Gateway': "172.28.5.254",
        'AuxiliaryAddresses': {"a": "172.28.1.5", "b": "172.28.1.6", "c": "172.28.1.7"}}]}, ipam

# test_create_network_with_host_driver_fails
refused('host driver', lambda: api.create_network('dockerpy-host', driver='host'))

# test_create_check_duplicate
with net() as (name, made):
    refused('check_duplicate', lambda: api.create_network(name, check_duplicate=True))

# test_create_inspect_network_with_labels, and labels of another type
with net(labels={'com.docker.py.test': 'label'}) as (name, made):
    assert api.inspect_network(made)['Labels'] == {'com.docker.py.test': 'label'}
    assert [n['Name'] for n in api.networks(filters={'label': 'com.docker.py.test=label'})] == [name]
    assert [n['Name'] for n in api.networks(filters={'label': ['com.docker.py.test', 'none']})] == []
try:
    api.create_network('dockerpy-labels', labels=['com.docker.py.test'])
except TypeError as error:
    tell('labels', str(error))

# test_create_network_attachable, _ingress, _ipv6_enabled, internal
with net(attachable=True) as (name, made):
    assert api.inspect_network(made)['Attachable'] is True
pools = [types.IPAMPool(subnet="172.28.0.0/16"), types.IPAMPool(subnet="2001:db8:389::/64", gateway='2001:db8:389::1')]
with net(enable_ipv6=True, ipam=types.IPAMConfig(pool_configs=pools)) as (name, made):
    assert api.inspect_network(made)['EnableIPv6'] is True
with net(internal=True) as (name, made):
    assert api.inspect_network(made)['Internal'] is True
with net(options={'com.docker.network.bridge.name': 'br-dockerpy'}) as (name, made):
    assert api.inspect_network(made)['Options'] == {'com.docker.network.bridge.name': 'br-dockerpy'}

# test_connect_and_disconnect_container, _and_force_disconnect_container, _to_bridge
with net() as (name, made):
    who = container()
    api.start(who)
    assert not api.inspect_network(made)['Containers']
    api.connect_container_to_network(who, made)
    assert list(api.inspect_network(made)['Containers']) == [who]
    refused('connect twice', lambda: api.connect_container_to_network(who, made))
    api.disconnect_container_from_network(who, made)
    assert not api.inspect_network(made)['Containers']
    refused('disconnect twice', lambda: api.disconnect_container_from_network(who, made))
    api.connect_container_to_network(who, made)
    api.disconnect_container_from_network(who, made, True)
    assert not api.inspect_network(made)['Containers']
    refused('force disconnect twice', lambda: api.disconnect_container_from_network(who, made, force=True))
    api.remove_container(who, force=True)

# test_connect_with_aliases
with net() as (name, made):
    who = container()
    api.start(who)
    api.connect_container_to_network(who, made, aliases=['foo', 'bar'])
    aliases = on(who, name)['Aliases']
    assert 'foo' in aliases and 'bar' in aliases, aliases
    tell('aliases', on(who, name))
    api.remove_container(who, force=True)

# test_connect_on_container_create, test_create_with_aliases
with net() as (name, made):
    who = container(
        host_config=api.create_host_config(network_mode=name),
        networking_config=api.create_networking_config({name: api.create_endpoint_config(aliases=['foo', 'bar'])}),
    )
    api.start(who)
    assert list(api.inspect_network(made)['Containers']) == [who]
    assert {'foo', 'bar'} <= set(on(who, name)['Aliases'])
    tell('created with aliases', on(who, name))
    api.disconnect_container_from_network(who, made)
    assert not api.inspect_network(made)['Containers']
    api.remove_container(who, force=True)

# test_create_with_ipv4_address, _ipv6_address, _linklocal_ips, test_connect_with_ipv4_address, _ipv6_address
pools = [
    types.IPAMPool(subnet='132.124.0.0/16', iprange='132.124.0.0/24', gateway='132.124.0.1'),
    types.IPAMPool(subnet='2001:389::/64', iprange='2001:389::/72'),
]
with net(driver='bridge', enable_ipv6=True, ipam=types.IPAMConfig(driver='default', pool_configs=pools)) as (name, made):
    for key, settings in {
        'IPv4Address': {'ipv4_address': '132.124.0.23'},
        'IPv6Address': {'ipv6_address': '2001:389::f00d'},
        'LinkLocalIPs': {'link_local_ips': ['169.254.8.8']},
    }.items():
        who = container(
            host_config=api.create_host_config(network_mode=name),
            networking_config=api.create_networking_config({name: api.create_endpoint_config(**settings)}),
        )
        api.start(who)
        assert on(who, name)['IPAMConfig'][key] == list(settings.values())[0]
        api.remove_container(who, force=True)
        who = container(host_config=api.create_host_config(network_mode='none' if ALONE else 'bridge'))
        api.start(who)
        api.connect_container_to_network(who, made, **settings)
        assert on(who, name)['IPAMConfig'][key] == list(settings.values())[0]
        api.remove_container(who, force=True)

# test_create_with_links, test_connect_with_links
with net() as (name, made):
    for target in ['docker-py-test-upstream', 'first', 'second']:
        api.start(container(name=target, host_config=api.create_host_config(network_mode=name)))
    linked = [('docker-py-test-upstream', 'bar')]
    who = container(
        host_config=api.create_host_config(network_mode=name),
        networking_config=api.create_networking_config({name: api.create_endpoint_config(links=linked)}),
    )
    api.start(who)
    assert on(who, name)['Links'] == ['docker-py-test-upstream:bar']
    api.disconnect_container_from_network(who, made)
    api.connect_container_to_network(who, made, links=[('first', 'one'), ('second', 'two')])
    tell('links', on(who, name)['Links'])
    for link in ['one', 'two', 'first']:
        done = api.exec_create(who, ['nslookup', '-type=a', link, '127.0.0.11'])
        said = api.exec_start(done)
        assert api.exec_inspect(done)['ExitCode'] == 0, said
    for one in [who, 'docker-py-test-upstream', 'first', 'second']:
        api.remove_container(one, force=True)

# test_prune_networks
made = api.create_network('dockerpy-prune')['Id']
pruned = api.prune_networks()['NetworksDeleted']
assert 'dockerpy-prune' in pruned, pruned

# models: networks.create with labels, get, remove; containers of created networks; a container that is created with a
# network and an endpoint's configuration (containers_test: run with networking_config, create with it).
labels = {'labels1': 'labels_value1'}
network = client.networks.create('dockerpy-models', labels=labels)
assert client.networks.get(network.id).name == 'dockerpy-models' and network.attrs['Labels'] == labels
endpoint = {'dockerpy-models': client.api.create_endpoint_config(aliases=['hello'], driver_opt={'key1': 'a'})}
box1 = client.containers.run(
    'busybox', 'sleep 100000', network='dockerpy-models', networking_config=endpoint, detach=True, stop_signal='SIGKILL')
box1.reload()
shown = box1.attrs['NetworkSettings']['Networks']
assert list(shown) == ['dockerpy-models'], shown
assert 'hello' in shown['dockerpy-models']['Aliases'] and shown['dockerpy-models']['DriverOpts'] == {'key1': 'a'}
box2 = client.containers.create('busybox', 'sleep 100000', network='dockerpy-models', networking_config={
    'dockerpy-other': client.api.create_endpoint_config(aliases=['hello'])})
tell('mismatched', box2.attrs['NetworkSettings']['Networks'])
network.reload()
assert [c.id for c in network.containers] == [box1.id]
network.disconnect(box1)
network.reload()
assert network.containers == []
box1.remove(force=True)
box2.remove(force=True)
network.remove()
tell('left', sorted(n['Name'] for n in api.networks()))
