# Containers renamed, restarted, ended and removed, and the events of it.
docker network create --subnet 10.60.0.0/24 n1
docker run -d --name box1 --network n1 busybox sleep 100000
docker rename box1 box2
docker exec box2 ping -c 1 -w 2 box2 | grep trans
docker run --rm --network n1 busybox ping -c 1 -w 2 box1
docker run --rm --network n1 busybox ping -c 1 -w 2 box2 | grep trans
docker network inspect n1 -f '{{range .Containers}}{{.Name}} {{end}}'
docker run -d --name box3 --network n1 busybox sleep 100000
docker rename box2 box3
docker rename nosuch x
docker restart -t 0 box2
docker restart nosuch
docker start nosuch
docker stop nosuch
docker run --rm --name box2 busybox true
docker network rm n1 2>&1 | grep -o 'network n1 has active endpoints'
docker run --name f1 --network n1 busybox sh -c 'exit 7'
docker inspect f1 -f '{{.State.ExitCode}} {{.NetworkSettings.Networks.n1.IPAddress}}|'
docker rm f1
docker rm -f box2 box3
docker network create --subnet 10.62.0.0/24 ev1
docker create --name evc --network ev1 busybox sleep 100000
docker start evc
docker network create --subnet 10.64.0.0/24 ev2
docker network connect ev2 evc
docker network disconnect ev2 evc
docker rename evc evd
docker pause evd
docker unpause evd
docker stop -t 0 evd
docker rm evd
docker network rm ev2 ev1
docker events --since 1h --until $(date +%s.%N) --filter network=ev1 --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}'
docker events --since 1h --until $(date +%s.%N) --filter network=ev2 --format '{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.container}}'
docker events --since 1h --until $(date +%s.%N) --filter container=evc --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'
docker events --since 1h --until $(date +%s.%N) --filter type=network --filter event=destroy --filter network=ev1 | sed 's/^[^ ]* //'
docker events --since 1h --until $(date +%s.%N) --filter nosuch=x | tail -1 | cut -d' ' -f2,3
docker events --since bogus --until 0s
docker events --since 0s --until 1h --filter type=bogus
