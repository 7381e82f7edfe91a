# docker run and create: each flag about networks and names.
docker network create --subnet 10.60.0.0/24 --ipv6 --subnet fd00:60::/64 n1
docker network create --subnet 10.61.0.0/24 n2
docker network create auto
docker run -d --name c1 --network name=n1,alias=a1,alias=a2,ip=10.60.0.9,ip6=fd00:60::9,mac-address=02:42:0a:3c:00:09,gw-priority=1 --network name=n2,alias=b1,driver-opt=com.docker.network.endpoint.ifname=foo0 busybox sleep 100000
docker inspect c1 -f '{{json .NetworkSettings.Networks}}'
docker inspect c1 -f '{{json .HostConfig.NetworkMode}} {{json .NetworkSettings.Ports}} {{.NetworkSettings.IPAddress}} {{.Config.MacAddress}}'
docker exec c1 ip -o addr | grep -E 'inet|link' | sed 's/.*: \(\w*\).*\(inet6\? [^ ]*\).*/\1 \2/' | grep -v fe80 | sort
docker exec c1 ip -o link | sed 's/@.*link/link/;s/^[0-9]*: //' | sort
docker exec c1 ip route
docker exec c1 ip -6 route | grep -v fe80 | sed 's/metric.*//'
# In which order networks are joined is the engine's to choose anew each time.
docker exec c1 sed 's/fe00::0/fe00::/;s/ff00::0/ff00::/' /etc/hosts | sort
docker exec c1 sed '/^#/d;/^$/d' /etc/resolv.conf
docker exec c1 hostname | tr -d '\n' | wc -c
docker run -d --name c1 busybox
docker run --rm --network n1 --ip 10.60.0.9 busybox true
docker run --rm --network n1 --ip 10.99.0.9 busybox true
docker run --rm --network n1 --ip bogus busybox true
docker run --rm --network n1 --ip6 fd00:61::1 busybox true
docker run --rm --network auto --ip 172.20.0.5 busybox true
docker run --rm --ip 172.20.0.5 busybox true
docker run --rm --network bridge --network-alias x busybox true
docker run --rm --network nosuch busybox true
docker create --name cn --network nosuch busybox true
docker start cn
docker rm cn
docker run --rm --network n1 --mac-address bogus busybox true
docker run --rm --network n1 --mac-address 02:42:ac:11:00:55 busybox cat /sys/class/net/eth0/address
docker create --name cm --mac-address 02:42:ac:11:00:57 --network n1 busybox
docker inspect cm -f '{{.Config.MacAddress}} {{.NetworkSettings.Networks.n1.MacAddress}}'
docker rm cm
docker run --rm --network n1 --network n1 busybox true
docker run --rm --network n1 --network host busybox true
docker run --rm --network none --network n1 busybox true
docker run --rm --network container:c1 --network n1 busybox true
docker run --rm --network container:c1 busybox ip -o -4 addr show eth0 | sed 's/^[0-9]*: //'
docker run --rm --network container:nosuch busybox true
docker run --rm --network container: busybox true
docker run --rm --network container:c1 -p 80:80 busybox true
docker run --rm --network container:c1 --hostname x busybox true
docker run --rm --network container:c1 --dns 1.1.1.1 busybox true
docker run --rm --network container:c1 --link c1:x busybox true
docker run --rm --network container:c1 --add-host a:1.2.3.4 busybox true
docker run --rm --network container:c1 --mac-address 02:42:ac:11:00:57 busybox true
docker run --rm --network container:c1 --expose 80 busybox true
docker run --rm --network host -p 80:80 busybox true
docker run --rm --network host --link c1:x busybox true
docker run --rm --network host --dns 1.1.1.1 busybox true
docker run --rm --network none busybox ip -o addr
docker run --rm --network none -p 80:80 busybox true
docker run --rm --network none --link c1:x busybox true
docker run --rm --network none --ip 1.2.3.4 busybox true
docker run --rm --network name=n1,bogus=1 busybox true
docker run --rm --network name=n1,gw-priority=x busybox true
docker run --rm --network name=n1,ip=10.60.0.11 --ip 10.60.0.12 busybox true
docker run --rm --network name=n1,alias=q --network-alias z busybox true
docker run --rm --network alias=q busybox true
docker run --rm --sysctl net.ipv4.ip_forward=1 busybox cat /proc/sys/net/ipv4/ip_forward
docker run --rm --network n1 --hostname h1 --domainname d.test busybox sh -c 'hostname; hostname -f; grep -c h1.d.test /etc/hosts'
docker run --rm --hostname h1.d.test busybox sh -c 'hostname; hostname -f'
docker run --rm --network n1 --dns 9.9.9.9 --dns-search a.test --dns-option ndots:3 busybox sed '/^#/d;/^$/d' /etc/resolv.conf
docker run --rm --network n1 --dns-search . busybox sed '/^#/d;/^$/d' /etc/resolv.conf
docker run --rm --dns bogus busybox true
docker run --rm --dns-search 'a b' busybox true
docker run --rm --add-host a.test:1.2.3.4 --add-host b.test=fd00::1 --add-host c:[fd00::2] --add-host gw:host-gateway busybox grep -E 'a.test|b.test|gw' /etc/hosts
docker run --rm --add-host bogus busybox true
docker run --rm --add-host a:bogus busybox true
docker run -d --name l1 busybox sleep 100000
docker run --rm --link l1 busybox grep l1 /etc/hosts
docker run --rm --link nosuch busybox true
docker run --rm --link l1:a:b busybox true
docker run -d --name l2 --link l1:db busybox sleep 100000
docker inspect l2 -f '{{json .HostConfig.Links}} {{json .NetworkSettings.Networks.bridge.Links}}'
docker exec l2 ping -c 1 -w 2 db | grep trans
docker rm -f l1
docker run --rm --network n1 --link c1:peer busybox ping -c 1 -w 2 peer | grep trans
docker run --rm --network n1 --link nosuch:peer busybox true
docker ps -a --format '{{.Names}} {{.Networks}}'
docker run --rm --network n1 busybox nosuchcommand
