# docker network connect and disconnect: containers that were created, run, are paused, are stopped.
docker network create --subnet 10.60.0.0/24 n1
docker network create --subnet 10.61.0.0/24 n2
docker create --name c1 busybox sleep 100000
docker network connect n1 c1
docker network connect --ip 10.61.0.7 --alias w --link c2:zz --gw-priority 3 --driver-opt a=b n2 c1
docker ps -a --format '{{.Names}}'
docker network inspect n1 -f '{{len .Containers}}'
docker network disconnect bridge c1
docker start c1
docker inspect c1 -f '{{json .NetworkSettings.Networks.n2}}'
docker inspect c1 -f '{{.HostConfig.NetworkMode}} {{.NetworkSettings.IPAddress}}'
docker network connect n1 c1
docker network connect --alias x bridge c1
docker network connect --ip 172.17.0.9 bridge c1
docker network connect --ip 10.99.0.9 n1 c1
docker network connect bridge c1
docker exec c1 ip -o link | sed 's/@.*//;s/^[0-9]*: //;s/:.*//' | sort
docker network connect host c1
docker network connect none c1
docker network disconnect host c1
docker network disconnect none c1
docker network disconnect bridge c1
docker network disconnect bridge c1
docker network disconnect -f bridge c1
docker pause c1
docker network disconnect n2 c1
docker network connect n2 c1
docker unpause c1
docker inspect c1 -f '{{range $k,$v := .NetworkSettings.Networks}}{{$k}} {{$v.GwPriority}} {{$v.Aliases}};{{end}}'
docker stop -t 0 c1
docker network inspect n1 -f '{{len .Containers}}'
docker network disconnect n1 c1
docker network connect bridge c1
docker start c1
docker network rm n2
docker run -d --name onhost --network host busybox sleep 100000
docker run -d --name joined --network container:onhost busybox sleep 100000
docker run -d --name first --network n1 busybox sleep 100000
docker run -d --name second --network container:first busybox sleep 100000
docker network connect n1 onhost
docker network connect n1 joined
docker network connect n2 second
docker network disconnect host onhost
docker inspect onhost -f '{{json .NetworkSettings.Networks}}'
docker inspect second -f '{{json .NetworkSettings.Networks}} {{.HostConfig.NetworkMode}}'
docker network connect n2 first
docker exec second ip -o link | sed 's/@.*//;s/^[0-9]*: //;s/:.*//' | sort
docker network inspect host -f '{{range .Containers}}{{.Name}} {{end}}'
docker ps -a --filter network=n1 --format '{{.Names}}'
docker ps -a --filter network=host --format '{{.Names}} {{.Networks}}'
docker ps -a --filter network=$(docker network ls -q --no-trunc -f name=n2) --format '{{.Names}}'
docker ps -a --filter network=$(docker network ls -q -f name=n2) --format '{{.Names}}'
docker ps -a --filter network=nosuch --format '{{.Names}}'
docker ps -a --filter network=n1 --filter network=host --format '{{.Names}}'
docker ps -n 1 --filter network=n1 --format '{{.Names}}'
docker ps --format '{{json .Ports}} {{.Names}}'
