# The examples of docker-py's page "Using Networks", in its order; `docker_client` is the `docker.APIClient`.
docker_client = api
img, command = 'busybox', ['sleep', '100000']


def running(**options):
    """A started container."""
    options.setdefault('name', 'box')
    made = docker_client.create_container(img, command, stop_signal='SIGKILL', **options)
    docker_client.start(made)
    return made['Id']


def on(who, name):
    return docker_client.inspect_container(who)['NetworkSettings']['Networks'][name]


def done(*what):
    """Removes containers and networks of an example."""
    for one in what:
        try:
            docker_client.remove_container(one, force=True)
        except docker.errors.NotFound:
            docker_client.remove_network(one)


# Network creation.
docker_client.create_network("network1", driver="bridge")
tell('created', docker_client.inspect_network('network1'))
done('network1')

# docker.utils.create_ipam_pool and create_ipam_config of the page are these types since docker-py 2.
ipam_pool = docker.types.IPAMPool(
    subnet='192.168.52.0/24',
    gateway='192.168.52.254'
)
ipam_config = docker.types.IPAMConfig(
    pool_configs=[ipam_pool]
)

docker_client.create_network("network1", driver="bridge", ipam=ipam_config)
tell('created with IPAM', docker_client.inspect_network('network1'))
done('network1')

docker_client.create_network("network1", driver="bridge", internal=True)
tell('created internal', docker_client.inspect_network('network1'))
done('network1')

# Container network configuration; the network has the subnet that the address is from, and links are pairs since docker-py 1.4.
docker_client.create_network('network1', ipam=docker.types.IPAMConfig(
    pool_configs=[docker.types.IPAMPool(subnet='172.28.0.0/24')]))
container2 = running(name='container2', networking_config=docker_client.create_networking_config({
    'network1': docker_client.create_endpoint_config()}))
networking_config = docker_client.create_networking_config({
    'network1': docker_client.create_endpoint_config(
        ipv4_address='172.28.0.124',
        aliases=['foo', 'bar'],
        links=[('container2', None)]
    )
})

ctnr = docker_client.create_container(
    img, command, networking_config=networking_config, name='example'
)
tell('a created container', on(ctnr, 'network1'))
docker_client.start(ctnr)
tell('a started container', {**on(ctnr, 'network1'), 'IPAddress': ''})
assert on(ctnr, 'network1')['IPAddress'] == '172.28.0.124'
for name in ['foo', 'bar']:
    asked = docker_client.exec_create(container2, ['nslookup', '-type=a', name, '127.0.0.11'])
    assert b'172.28.0.124' in docker_client.exec_start(asked), name
asked = docker_client.exec_create(ctnr, ['nslookup', '-type=a', 'container2', '127.0.0.11'])
assert docker_client.inspect_container(container2)['NetworkSettings']['Networks']['network1']['IPAddress'].encode() \
    in docker_client.exec_start(asked)
done(ctnr['Id'], container2, 'network1')

# Client.create_networking_config.
docker_client.create_network('network1')

networking_config = docker_client.create_networking_config({
    'network1': docker_client.create_endpoint_config()
})

container = docker_client.create_container(
    img, command, networking_config=networking_config, name='example'
)
docker_client.start(container)
tell('on network1', sorted(docker_client.inspect_container(container)['NetworkSettings']['Networks']))
done(container['Id'], 'network1')

# Client.create_endpoint_config: the page's address is of no subnet of network1, which engines since 25 refuse at once.
endpoint_config = docker_client.create_endpoint_config(
    aliases=['web', 'app'],
    links=[('app_db', None)],
    ipv4_address='132.65.0.123'
)

docker_client.create_network('network1')
networking_config = docker_client.create_networking_config({
    'network1': endpoint_config
})
refused('outside of the subnet', lambda: docker_client.create_container(
    img, command, networking_config=networking_config, name='example'
))
done('network1')

# The same where it is of one, with a container to link to.
docker_client.create_network('network1', ipam=docker.types.IPAMConfig(
    pool_configs=[docker.types.IPAMPool(subnet='132.65.0.0/16')]))
app_db = running(name='app_db', networking_config=docker_client.create_networking_config({
    'network1': docker_client.create_endpoint_config()}))
container = docker_client.create_container(
    img, command, networking_config=networking_config, name='example'
)
docker_client.start(container)
shown = on(container, 'network1')
tell('with an endpoint config', shown)
done(container['Id'], app_db)
# Without one to link to.
container = docker_client.create_container(
    img, command, networking_config=networking_config, name='example'
)
docker_client.start(container)
tell('with a link to nobody', on(container, 'network1')['Links'])
done(container['Id'], 'network1')

# docker.utils.create_ipam_config.
ipam_config = docker.types.IPAMConfig(driver='default')
network = docker_client.create_network('network1', ipam=ipam_config)
tell('with an IPAM driver', docker_client.inspect_network(network['Id']))
done('network1')

# docker.utils.create_ipam_pool.
ipam_pool = docker.types.IPAMPool(
    subnet='124.42.0.0/16',
    iprange='124.42.0.0/24',
    gateway='124.42.0.254',
    aux_addresses={
        'reserved1': '124.42.1.1'
    }
)
ipam_config = docker.types.IPAMConfig(pool_configs=[ipam_pool])
network = docker_client.create_network('network1', ipam=ipam_config)
tell('with a pool', docker_client.inspect_network('network1')['IPAM'])
# The engine refuses it at the start, netd already when the container is made.
try:
    running(networking_config=docker_client.create_networking_config({
        'network1': docker_client.create_endpoint_config(ipv4_address='124.42.1.1')}))
except docker.errors.APIError as error:
    tell('the reserved address', [error.response.status_code, error.explanation.split(': ')[-1]])
for left in docker_client.containers(all=True, filters={'status': 'created'}):
    done(left['Id'])
who = running(networking_config=docker_client.create_networking_config({
    'network1': docker_client.create_endpoint_config()}))
address = on(who, 'network1')['IPAddress']
assert address.startswith('124.42.0.'), address
done(who, 'network1')

# Client.connect_container_to_network, which the page points at, and its opposite.
docker_client.create_network('network1')
docker_client.create_network('network2')
who = running(networking_config=docker_client.create_networking_config({
    'network1': docker_client.create_endpoint_config()}))
docker_client.connect_container_to_network(who, 'network2', aliases=['second'])
tell('on two', sorted(docker_client.inspect_container(who)['NetworkSettings']['Networks']))
docker_client.disconnect_container_from_network(who, 'network1')
tell('on one', sorted(docker_client.inspect_container(who)['NetworkSettings']['Networks']))
done(who, 'network1', 'network2')
tell('left', sorted(n['Name'] for n in docker_client.networks()))
