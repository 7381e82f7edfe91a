# docker network: create with its options, ls, inspect, rm and prune, and what is said of wrong use.
docker network create
docker network create a b
docker network create bridge
docker network create -d nosuch x1
docker network create --subnet 10.60.0.0/16 --gateway 10.60.0.254 --ip-range 10.60.5.0/24 --aux-address r=10.60.5.7 --label a=b --label c -o com.docker.network.bridge.name=brx1 -o com.docker.network.bridge.enable_icc=false n1
docker network inspect n1
docker network inspect -v n1
docker network create n1
docker network create --subnet 10.60.0.0/24 n2
docker network create --subnet 10.60.0.300/24 n2
docker network create --subnet 10.61.0.1/24 n2
docker network create --gateway 10.61.0.1 n2
docker network create --subnet 10.61.0.0/24 --gateway 10.62.0.1 n2
docker network create --subnet 10.61.0.0/24 --ip-range 10.62.0.0/25 n2
docker network create --subnet 10.61.0.0/24 --subnet 10.61.0.0/24 n2
docker network create --subnet 10.61.0.0/24 --subnet 10.62.0.0/24 n2
docker network create --subnet 10.61.0.0/24 --aux-address x=10.62.0.1 n2
docker network create --internal --attachable n3
docker network inspect n3 -f '{{.Internal}} {{.Attachable}} {{json .IPAM.Options}}'
docker network create --ipv6 n4
docker network inspect -f '{{.EnableIPv6}} {{len .IPAM.Config}}' n4
docker network create --ipv6 --subnet fd00:aa::/64 --gateway fd00:aa::1 n5
docker network inspect n5 -f '{{.EnableIPv6}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}};{{end}}' | grep -o 'fd00[^;]*'
docker network create --ipv4=false --ipv6 --subnet fd00:ab::/64 n6
docker network inspect n6
docker network create --ipv4=false n7
docker network create --scope swarm n7
docker network create --ipam-driver nosuch n7
docker network create --ipam-driver default --ipam-opt a=b n7
docker network inspect -f '{{json .IPAM.Options}}' n7
docker network create --config-only --subnet 10.70.0.0/24 cfg1
docker network inspect cfg1
docker network create --config-from cfg1 n8
docker network inspect n8 -f '{{.Driver}} {{.ConfigFrom.Network}} {{json .IPAM.Options}}'
docker network create --config-from cfg1 --subnet 10.71.0.0/24 n9
docker network create -d host h2
docker network create -d null h3
docker network create ''
docker network create --label '' --label =x lab1
docker network create -o com.docker.network.driver.mtu=1400 mtu1
docker network create -o com.docker.network.driver.mtu=x mtu2
docker network create -o com.docker.network.bridge.enable_icc=x icc2
docker network create -o com.docker.network.bridge.host_binding_ipv4=x hb2
docker network create -o com.docker.network.bridge.gateway_mode_ipv4=nat gm1
docker network create -o com.docker.network.bridge.gateway_mode_ipv4=bogus gm2
docker network create -o nosuch.option=1 op1
docker network ls
docker network ls -q --no-trunc | wc -l
docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.IPv4}} {{.Internal}}' | sort
docker network ls -f name=n -f driver=bridge --format '{{.Name}}'
docker network ls -f driver=null --format '{{.Name}}'
docker network ls -f label=a --format '{{.Name}}'
docker network ls -f label=a=c --format '{{.Name}}'
docker network ls -f type=custom --format '{{.Name}}'
docker network ls -f type=builtin --format '{{.Name}}'
docker network ls -f type=x
docker network ls -f scope=local --format '{{.Name}}'
docker network ls -f dangling=true --format '{{.Name}}'
docker network ls -f dangling=x
docker network ls -f nosuch=x
docker network ls -f id=$(docker network ls -qf name=n1) --format '{{.Name}}'
docker network inspect nosuch
docker network inspect n1 nosuch n3 -f '{{.Name}}'
docker network inspect
docker network inspect -f '{{.Nope}}' n1
docker network rm
docker network rm nosuch
docker network rm -f nosuch
docker network rm n3 nosuch n4
docker network rm bridge
docker network rm host
docker network rm cfg1
docker network rm n8 cfg1
docker network remove n5
docker network connect
docker network connect n1
docker network connect n1 nosuch
docker network connect nosuch nosuch
docker network disconnect n1 nosuch
docker network disconnect -f n1 nosuch
docker network disconnect nosuch nosuch
docker network prune -f --filter label=zz
docker network prune -f --filter until=1h
docker network prune -f --filter nosuch=1
docker network prune -f --filter label!=a | sort
docker network prune -f
docker network ls --format '{{.Name}}'
docker network
docker network nosuch
docker info -f '{{.Driver}} {{.ServerVersion}} {{.DefaultRuntime}}'
docker version -f '{{.Server.Version}}'
docker system df --format '{{.Type}}'
