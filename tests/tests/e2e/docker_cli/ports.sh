# Published and exposed ports, as asked for, listed, filtered by and refused.
docker network create --subnet 10.60.0.0/24 n1
docker run -d --name p1 -p 8080:80 -p 8081:81/udp -p 127.0.0.1:8082:82 -p '[::1]:8083:83' -p 7000-7010:7000-7010 -p 127.0.0.1::84 -p 85 busybox sleep 100000
docker ps --format '{{.Ports}}'
docker port p1
docker port p1 80
docker port p1 80/tcp
docker port p1 81/udp
docker port p1 81
docker port p1 nosuch
docker port nosuch
docker inspect p1 -f '{{json .NetworkSettings.Ports}}'
docker inspect p1 -f '{{json .HostConfig.PortBindings}}'
docker inspect p1 -f '{{json .Config.ExposedPorts}}'
docker inspect p1 -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}'
docker ps --filter publish=8080 --format '{{.Names}}'
docker ps --filter publish=80 --format '{{.Names}}'
docker ps --filter publish=8081/udp --format '{{.Names}}'
docker ps --filter publish=8081 --format '{{.Names}}'
docker ps --filter publish=7003-7005 --format '{{.Names}}'
docker ps --filter expose=80 --format '{{.Names}}'
docker ps --filter expose=80/udp --format '{{.Names}}'
docker ps --filter expose=8000-8100/tcp --format '{{.Names}}'
docker ps --filter publish=bogus
docker ps --filter expose=bogus
docker run --rm -p bogus:80 busybox true
docker run --rm -p 80:bogus busybox true
docker run --rm -p 99999:80 busybox true
docker run --rm -p 8000-8005:80-81 busybox true
docker run --rm -p 300.1.1.1:80:80 busybox true
docker run --rm -p :80 busybox true
docker run --rm -p '' busybox true
docker run --rm -p 80:80/xtp busybox true
docker run --rm -p host:80:80 busybox true
docker run -d --name r1 -p 9000-9010:90 busybox sleep 100000
docker run -d --name r2 -p 9000-9010:90 busybox sleep 100000
docker port r1
docker port r2
docker inspect r2 -f '{{json .HostConfig.PortBindings}}'
docker rm -f r1 r2
docker run -d --name r4 -p 127.0.0.1:9020-9022:91/udp -p 9020-9022:91 busybox sleep 100000
docker port r4
docker rm -f r4
docker run -d --name e1 --expose 5000-5003 --expose 53/udp -P busybox sleep 100000
docker port e1
docker ps --filter name=e1 --format '{{.Ports}}'
docker inspect e1 -f '{{json .HostConfig.PublishAllPorts}} {{json .Config.ExposedPorts}}'
docker run -d --name e2 --expose 5000-5003 --expose 53/udp busybox sleep 100000
docker ps --filter name=e2 --format '{{.Ports}}'
docker inspect e2 -f '{{json .NetworkSettings.Ports}}'
docker port e2
docker run --rm --expose bogus busybox true
docker run --rm --expose 80-70 busybox true
docker stop -t 0 e1
docker port e1
docker ps -a --filter name=e1 --format '{{.Ports}}|{{.State}}'
docker inspect e1 -f '{{json .NetworkSettings.Ports}}'
docker start e1
docker port e1
docker create --name k1 -p 8100:80 busybox sleep 100000
docker port k1
docker ps -a --filter name=k1 --format '{{.Ports}}|{{.Status}}'
docker ps -a --filter publish=8100 --format '{{.Names}}'
docker start k1
docker pause k1
docker port k1
docker unpause k1
docker restart -t 0 k1
docker port k1
docker kill k1
docker inspect k1 -f '{{json .NetworkSettings.Networks.bridge}}'
docker rm k1
docker run -d --name q1 --network n1 -p 8200:80 -p 8200:80/udp -p 8201:80 busybox httpd -f -p 80
docker network disconnect n1 q1
docker port q1
docker ps --filter name=q1 --format '{{.Ports}}|{{.Networks}}'
docker inspect q1 -f '{{json .NetworkSettings.Ports}} {{json .NetworkSettings.Networks}}'
docker network connect n1 q1
docker port q1
docker run --rm --network host busybox wget -qO- http://127.0.0.1:8200/ 2>&1 | tail -1
